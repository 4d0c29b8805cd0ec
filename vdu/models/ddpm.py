"""Unconditional diffusion models on pixels (Ho et al. 2020), as diffusers' DDPMPipeline and DDIMPipeline hold them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from diffusers import UNet2DModel
from torch import Tensor

from vdu.models.base import NO_CONDITION, PHOTOGRAPHS, UNCONDITIONAL, Condition, Diffusion, from_uint8, to_uint8


class DDPM(Diffusion):
    """An unconditional DDPM: states are images in [-1, 1], and it takes no prompt."""

    PIPELINES = ("DDPMPipeline", "DDIMPipeline")
    TITLE = "an unconditional DDPM"
    PARTS: ClassVar = {"unet": UNet2DModel}
    PART_AT_ROOT = True  # the first ones on the hub have all files there
    takes_prompts = False

    @classmethod
    def kind(cls, config: Mapping[str, Any]) -> str:
        """One channel is a drawing, more are a photograph."""
        return UNCONDITIONAL if config["in_channels"] == 1 else PHOTOGRAPHS

    @classmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Its network may need a class, predict more than the noise, or have no size."""
        config = parts["unet"].config
        channels, predicted = config.in_channels, config.out_channels
        reasons = {
            "its network must be told a class, and there is none to tell": config.num_class_embeds or config.class_embed_type,
            f"its network takes {channels} channels and gives {predicted}, and should give the noise alone": (
                channels != predicted
            ),
            "its configuration does not say of what size its images are (sample_size)": not config.sample_size,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """The same for any prompt: none."""
        return NO_CONDITION

    def encode(self, images: Tensor) -> Tensor:
        """States of uint8 images, (n, c, h, w)."""
        return from_uint8(images).to(self.device)

    def decode(self, states: Tensor) -> Tensor:
        """uint8 images (n, c, h, w) on the CPU."""
        return to_uint8(states)


FAMILY = DDPM

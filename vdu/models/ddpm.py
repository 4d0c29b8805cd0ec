"""Unconditional diffusion models on pixels (Ho et al. 2020), in the format of diffusers' DDPMPipeline and DDIMPipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from vdu.models.base import (
    NO_CONDITION,
    PHOTOGRAPHS,
    UNCONDITIONAL,
    Condition,
    Diffusion,
    from_uint8,
    is_size,
    sides,
    to_uint8,
)
from vdu.models.schedule import clips


class DDPM(Diffusion):
    """An unconditional DDPM: states are images in [-1, 1], and there are no prompts."""

    PIPELINES = ("DDPMPipeline", "DDIMPipeline")
    TITLE = "an unconditional DDPM"
    PARTS: ClassVar = {"unet": "diffusers.UNet2DModel"}
    PART_AT_ROOT = True  # the first DDPMs on the hub have all files there
    PIXELS = True
    takes_prompts = False

    @classmethod
    def kind(cls, config: Mapping[str, Any]) -> str:
        """Drawings if images have one channel, else photographs."""
        return UNCONDITIONAL if config["in_channels"] == 1 else PHOTOGRAPHS

    @classmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Refuse networks that need a class, predict more than the noise, or draw what is no picture."""
        config = parts["unet"].config
        channels, predicted, halvings = config.in_channels, config.out_channels, len(config.down_block_types) - 1
        reasons = {
            "its network needs a class label as input": config.num_class_embeds or config.class_embed_type,
            f"its network takes {channels} channels and predicts {predicted}; it must predict the noise alone": (
                channels != predicted
            ),
            f"it draws images of {channels} channels, and only 1 or 3 can be shown": cls.PIXELS and channels not in (1, 3),
            "its configuration does not state the size of its images (sample_size)": not is_size(config.sample_size),
            f"its network halves images {halvings} times, and their size ({config.sample_size}) is no multiple of "
            f"{2**halvings}": is_size(config.sample_size) and any(side % 2**halvings for side in sides(config.sample_size)),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    @property
    def clips(self) -> bool:
        """See `Diffusion.clips`."""
        return self.PIXELS and clips(self.scheduler)

    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """No condition, whatever the prompts."""
        return NO_CONDITION

    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 images as states in [-1, 1], both (n, c, h, w)."""
        return from_uint8(images).to(self.device)

    def decode(self, states: Tensor) -> Tensor:
        """Decode states to uint8 images on the CPU, both (n, c, h, w)."""
        return to_uint8(states)


FAMILY = DDPM

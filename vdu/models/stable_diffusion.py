"""Text-to-image latent diffusion (Rombach et al. 2022), in the format of diffusers' StableDiffusionPipeline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers import logging as transformers_logging

from vdu.models.base import (
    FULL_SIZE,
    LARGE,
    SMALL,
    Condition,
    Diffusion,
    autocast,
    from_uint8,
    has_bfloat16,
    is_large,
    on_device,
    to_uint8,
)
from vdu.models.loading import load

VAE_NUMBERS = 768_000  # pixel values per pass of the autoencoder: 250 images of 32×32, or one of 512×512
CACHED_PROMPTS = 2000  # prompts whose conditions are kept in memory


@dataclass
class StableDiffusion(Diffusion):
    """A text-to-image latent diffusion model; unlearning changes only its U-Net.

    Attributes:
        vae, text_encoder, tokenizer: the other parts, shared by all clones.
        prompt_cache: prompt -> its condition of one row, for the prompts seen so far.
        VAE_IN_FLOAT16: whether the autoencoder's activations fit into float16.
    """

    PIPELINES = ("StableDiffusionPipeline",)
    TITLE = "a Stable Diffusion model"
    PARTS: ClassVar = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
    }
    SAVE_OPTIONS: ClassVar = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    VAE_IN_FLOAT16: ClassVar[bool] = True
    takes_prompts = True

    vae: AutoencoderKL = field(kw_only=True)
    text_encoder: CLIPTextModel = field(kw_only=True)
    tokenizer: CLIPTokenizer = field(kw_only=True)
    prompt_cache: dict[str, Condition] = field(default_factory=dict, kw_only=True)

    @classmethod
    def kind(cls, config: Mapping[str, Any]) -> str:
        """Full-size or small, by the size of the latents."""
        return FULL_SIZE if is_large(config["sample_size"], LARGE) else SMALL

    @classmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Refuse networks that do not fit the autoencoder and the text encoder."""
        config, latents = parts["unet"].config, parts["vae"].config.latent_channels
        channels, width = config.in_channels, config.cross_attention_dim
        given = cls.embedding_width(parts)
        if (channels, width) == (latents, given):
            return None
        return (
            f"its network takes {channels} channels and words of width {width}, its other parts give {latents} and {given}; "
            f"in {cls.TITLE} they are equal"
        )

    @classmethod
    def embedding_width(cls, parts: Mapping[str, Any]) -> int:
        """Width of a token's embedding by the text encoder."""
        return parts["text_encoder"].config.hidden_size

    @classmethod
    def place(cls, parts: dict[str, Any], device: str, large: float) -> dict[str, Any]:
        """Prepare the parts for use; see `Diffusion.place`.

        A network with latents of at least `large` × `large` recomputes its activations in the backward pass. Its frozen
        parameters are held in bfloat16 if the hardware computes that natively.
        """
        unet = parts["unet"]
        if is_large(unet.config.sample_size, large):
            unet.enable_gradient_checkpointing()
            if has_bfloat16(device):
                for part in parts.values():
                    if isinstance(part, torch.nn.Module):
                        part.to(torch.bfloat16)
        elif device == "cpu":  # at small sizes the fused attention's backward pass takes half the time
            unet.set_attn_processor(AttnProcessor())
        return super().place(parts, device, large)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, height, width = self.shape
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.out_channels, height * factor, width * factor

    @property
    def vae_batch(self) -> int:
        """How many images go through the autoencoder at a time."""
        return max(1, VAE_NUMBERS // math.prod(self.image_shape))

    @torch.no_grad()
    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """The network's condition for n prompts, from the cache or the text encoder; None or "" is no prompt."""
        if len(self.prompt_cache) > CACHED_PROMPTS:
            self.prompt_cache.clear()
        new = sorted({prompt or "" for prompt in prompts} - self.prompt_cache.keys())
        if new:
            encoded = self.encode_prompts(new)
            self.prompt_cache.update((prompt, encoded.rows([row])) for row, prompt in enumerate(new))
        return Condition.cat([self.prompt_cache[prompt or ""] for prompt in prompts])

    def encode_prompts(self, prompts: list[str]) -> Condition:
        """Encode n prompts: "tokens" (n, tokens, width), the text encoder's last hidden states."""
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with on_device(self.text_encoder, self.device) as text_encoder:
            return Condition({"tokens": text_encoder(tokens.to(self.device)).last_hidden_state.float()})

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The tokens, which the network reads by cross-attention."""
        return {"encoder_hidden_states": condition["tokens"]}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 images (n, 3, h, w) as scaled latents, the means of the encoder."""
        with on_device(self.vae, self.device) as vae, autocast(self.device, self.VAE_IN_FLOAT16):
            parts = [vae.encode(from_uint8(part).to(self.device)) for part in images.split(self.vae_batch)]
            return torch.cat([part.latent_dist.mean.float() for part in parts]) * vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, states: Tensor) -> Tensor:
        """Decode scaled latents to uint8 images (n, 3, h, w) on the CPU."""
        latents = (states / self.vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        with on_device(self.vae, self.device) as vae, autocast(self.device, self.VAE_IN_FLOAT16):
            return torch.cat([to_uint8(vae.decode(part).sample.float()) for part in latents.split(self.vae_batch)])

    def save(self, folder: Path) -> None:
        """Write a folder that the first of `PIPELINES` loads with `from_pretrained`; safetensors only, in full precision."""
        transformers_logging.set_verbosity_error()  # avoids advice to install torchvision
        super().save(folder)

    def in_full_precision(self) -> Self:
        """The model with its frozen parameters read again from its folder in float32, if it holds them in bfloat16."""
        if not self.folder or all(value.dtype == torch.float32 for value in self.unet.parameters()):
            return self
        model = load(type(self), self.folder, large=math.inf)
        model.unet.load_state_dict({name: value.cpu() for name, value in self.trained.items()}, strict=False)
        return model


FAMILY = StableDiffusion

"""Text-to-image latent diffusion (Rombach et al. 2022), in the format of diffusers' StableDiffusionPipeline."""

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from vdu.errors import UserError
from vdu.models.base import (
    FULL_SIZE,
    LARGE,
    SMALL,
    Condition,
    Diffusion,
    from_uint8,
    is_large,
    is_size,
    to_uint8,
)
from vdu.models.devices import autocast, has_bfloat16, on_device

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

VAE_NUMBERS = 768_000  # pixel values per pass of the autoencoder: 250 images of 32×32, or one of 512×512
CACHED_PROMPTS = 2000  # prompts whose conditions are kept in memory
ENCODING = threading.RLock()
PUNCTUATION = ".,;:!?()'\""  # of which a tokenizer need not know every sign
# Settings of a network that takes more inputs than x_t, t and the prompt.
EXTRA_INPUTS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")


@dataclass
class StableDiffusion(Diffusion):
    """A text-to-image latent diffusion model; unlearning changes only its U-Net.

    Attributes:
        vae, text_encoder, tokenizer: the other parts, shared by all clones.
        prompt_cache: prompt -> its condition of one row, for the prompts seen so far.
        PIPELINE_OPTIONS: arguments of the pipeline class besides the parts.
        OWN_EXTRA: further settings of networks with more inputs than this family gives.
        VAE_IN_FLOAT16: whether the autoencoder's activations fit into float16.
    """

    PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    TITLE = "a Stable Diffusion model"
    PARTS: ClassVar = {
        "unet": "diffusers.UNet2DConditionModel",
        "vae": ("diffusers.AutoencoderKL", "diffusers.AutoencoderTiny", "diffusers.AsymmetricAutoencoderKL"),
        "text_encoder": "transformers.CLIPTextModel",
        "tokenizer": "transformers.CLIPTokenizer",
    }
    PIPELINE_OPTIONS: ClassVar = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    ENCODERS: ClassVar = {"text_encoder": "tokenizer"}  # each text encoder, and the tokenizer that reads for it
    OWN_EXTRA: ClassVar[tuple[str, ...]] = ("addition_embed_type",)
    VAE_IN_FLOAT16: ClassVar[bool] = True
    takes_prompts = True

    vae: "AutoencoderKL" = field(kw_only=True)
    text_encoder: "CLIPTextModel" = field(kw_only=True)
    tokenizer: "CLIPTokenizer" = field(kw_only=True)
    prompt_cache: dict[str | None, Condition] = field(default_factory=dict, kw_only=True)

    @classmethod
    def kind(cls, config: Mapping[str, Any]) -> str:
        """Full-size or small, by the size of the latents."""
        return FULL_SIZE if is_large(config["sample_size"], LARGE) else SMALL

    @classmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Refuse networks that do not fit the autoencoder and the text encoder, or take more than a prompt."""
        config, vae = parts["unet"].config, parts["vae"].config
        width, given = config.cross_attention_dim, cls.embedding_width(parts)
        widths = set(width) if isinstance(width, Sequence) else {width}
        extra = next((name for name in (*EXTRA_INPUTS, *cls.OWN_EXTRA) if config.get(name)), None)
        taken, predicted = config.in_channels, config.out_channels
        latents, shown = vae.latent_channels, vae.out_channels
        reasons = {
            f"its network takes {taken} channels and words of width {width}, its other parts give {latents} and {given}; "
            f"in {cls.TITLE} they are equal": taken != latents or widths != {given},
            f"its network takes {taken} channels and predicts {predicted}; it must predict the noise alone": (
                taken != predicted
            ),
            f"its network takes another input besides the prompt ({extra}), which {cls.TITLE} does not give": extra,
            "its configuration does not state the size of its latents (sample_size)": not is_size(config.sample_size),
            f"its autoencoder draws images of {shown} channels, and only 3 can be shown": shown != 3,
            "its autoencoder does not state the scale of its latents (scaling_factor)": not is_positive(vae.scaling_factor),
            "its tokenizer has more tokens than its text encoder knows": any(
                len(parts[tokenizer]) > parts[encoder].config.vocab_size for encoder, tokenizer in cls.ENCODERS.items()
            ),
            "its autoencoder draws images of another size than it reads": not same_depth(vae),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    @classmethod
    def lengths(cls, parts: Mapping[str, Any]) -> dict[str, int]:
        """Tokenizer -> number of tokens that are read of a prompt, start and end among them.

        A tokenizer may state no length, or a greater one than its text encoder has positions for.
        """
        return {
            tokenizer: min(parts[tokenizer].model_max_length, parts[encoder].config.max_position_embeddings)
            for encoder, tokenizer in cls.ENCODERS.items()
        }

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
        from diffusers.models.attention_processor import AttnProcessor

        unet = parts["unet"]
        for tokenizer, tokens in cls.lengths(parts).items():
            parts[tokenizer].model_max_length = tokens
        if is_large(unet.config.sample_size, large):
            unet.enable_gradient_checkpointing()
            if has_bfloat16(device):
                for part in parts.values():
                    if isinstance(part, torch.nn.Module):
                        part.to(torch.bfloat16)
        elif device == "cpu":  # at small sizes the fused attention's backward pass takes half the time
            unet.set_attn_processor(AttnProcessor())
        return super().place(parts, device, large)

    @cached_property
    def pipeline(self) -> "DiffusionPipeline":
        """The parts as diffusers puts them together; its network and scheduler are not used."""
        import diffusers
        from transformers import logging as transformers_logging

        transformers_logging.set_verbosity_error()  # avoids advice to install torchvision
        parts = {name: getattr(self, name) for name in self.PARTS}
        kind = getattr(diffusers, self.PIPELINES[0])
        return kind(**parts, scheduler=copy.deepcopy(self.scheduler), **self.PIPELINE_OPTIONS)

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
        """The network's condition for n prompts, from the cache or the text encoder; None is no prompt, as guidance has it."""
        with ENCODING:  # threads that draw side by side share the cache, as do visitors of a page
            if len(self.prompt_cache) > CACHED_PROMPTS:
                self.prompt_cache.clear()
            new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.prompt_cache]
            if new:
                encoded = self.encode_prompts(new)
                self.prompt_cache.update((prompt, encoded.rows([row])) for row, prompt in enumerate(new))
            return Condition.cat([self.prompt_cache[prompt] for prompt in prompts])

    def encode_prompts(self, prompts: list[str | None]) -> Condition:
        """Encode n prompts, as diffusers' pipeline does: "tokens" (n, tokens, width); None is "".

        Raises:
            UserError: if a prompt is longer than the model reads.
        """
        texts = [prompt or "" for prompt in prompts]
        self.check_lengths(texts)
        with on_device(self.text_encoder, self.device):
            embeddings, _ = self.pipeline.encode_prompt(texts, self.device, 1, do_classifier_free_guidance=False)
        return Condition({"tokens": embeddings.float()})

    def tokens_of(self, prompt: str, tokenizer: "CLIPTokenizer") -> list[int]:
        """All tokens of a prompt, each learned word with all of its vectors (textual inversion)."""
        return list(tokenizer(self.pipeline.maybe_convert_prompt(prompt, tokenizer), verbose=False).input_ids)

    def knows_whole(self, words: Sequence[str]) -> bool:
        """Whether every tokenizer has one token for each of some words; words with other signs than letters do not count."""
        tokenizers = [getattr(self, name) for name in self.ENCODERS.values()]
        return all(len(self.tokens_of(word, each)) == 3 for each in tokenizers for word in words if word.isalpha())

    def check_lengths(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that are longer than the model reads.

        Raises:
            UserError: the sentence says which words are not read.
        """
        for prompt in prompts:
            for tokenizer in (getattr(self, name) for name in self.ENCODERS.values()):
                words, most = prompt.split(), tokenizer.model_max_length
                fit = len(words)
                while len(self.tokens_of(" ".join(words[:fit]), tokenizer)) > most:
                    fit -= 1
                if fit < len(words):
                    raise UserError(
                        f"The model reads {most - 2} tokens of a prompt, and '{shorten(' '.join(words[fit:]), 80)}' in "
                        f"'{shorten(prompt, 200)}' comes after them; shorten the prompt."
                    )

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that are too long, or have words that a tokenizer does not know; see `Diffusion.check_prompts`."""
        words = (word.strip(PUNCTUATION) for prompt in prompts for word in prompt.split())
        for word in dict.fromkeys(words):
            for tokenizer in (getattr(self, name) for name in self.ENCODERS.values()):
                if tokenizer.unk_token_id in self.tokens_of(word, tokenizer)[1:-1]:  # between the start and the end
                    raise UserError(
                        f"The model's tokenizer does not know '{word}', so the model cannot read it; use other words."
                    )
        self.check_lengths(prompts)

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The tokens, which the network reads by cross-attention."""
        return {"encoder_hidden_states": condition["tokens"]}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 images (n, 3, h, w) as scaled latents, the means of the encoder."""
        with on_device(self.vae, self.device) as vae, autocast(self.device, self.VAE_IN_FLOAT16):
            parts = [vae.encode(from_uint8(part).to(self.device)) for part in images.split(self.vae_batch)]
            latents = [part.latent_dist.mean if hasattr(part, "latent_dist") else part.latents for part in parts]
            return torch.cat([part.float() for part in latents]) * vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, states: Tensor) -> Tensor:
        """Decode scaled latents to uint8 images (n, 3, h, w) on the CPU."""
        latents = (states / self.vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        with on_device(self.vae, self.device) as vae, autocast(self.device, self.VAE_IN_FLOAT16):
            return torch.cat([to_uint8(vae.decode(part).sample.float()) for part in latents.split(self.vae_batch)])


def is_positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def same_depth(config: Mapping[str, Any]) -> bool:
    """Whether an autoencoder's two halves have the same number of resolutions, by its configuration."""
    down = config.get("down_block_out_channels") or config.get("encoder_block_out_channels")
    up = config.get("up_block_out_channels") or config.get("decoder_block_out_channels")
    return not (down and up) or len(down) == len(up)


FAMILY = StableDiffusion

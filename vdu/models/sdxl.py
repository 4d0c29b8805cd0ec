"""Stable Diffusion XL (Podell et al. 2023, arXiv 2307.01952), in the format of diffusers' StableDiffusionXLPipeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from vdu.models.base import Condition
from vdu.models.devices import on_device
from vdu.models.stable_diffusion import StableDiffusion

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

TIME_IDS = 6  # original height and width, top and left of the crop, height and width to draw


@dataclass
class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion with two text encoders; its network also takes a pooled embedding and the size of the image.

    The time ids are diffusers' defaults: the image has its full size and is not cropped.

    Attributes:
        text_encoder_2, tokenizer_2: the second text encoder, which also gives the pooled embedding, and its tokenizer.
        force_zeros_for_empty_prompt: whether None gives zeros, as in guidance; else it gives the embeddings of "".
    """

    PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
    TITLE = "a Stable Diffusion XL model"
    PARTS: ClassVar = StableDiffusion.PARTS | {
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
        "tokenizer_2": "transformers.CLIPTokenizer",
    }
    OPTIONS: ClassVar = {"force_zeros_for_empty_prompt": True}
    PIPELINE_OPTIONS: ClassVar = {"add_watermarker": False}
    ENCODERS: ClassVar = StableDiffusion.ENCODERS | {"text_encoder_2": "tokenizer_2"}
    OWN_EXTRA = ()
    VAE_IN_FLOAT16 = False  # its activations overflow; diffusers also runs it in float32

    text_encoder_2: "CLIPTextModelWithProjection" = field(kw_only=True)
    tokenizer_2: "CLIPTokenizer" = field(kw_only=True)
    force_zeros_for_empty_prompt: bool = field(default=True, kw_only=True)

    @classmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Refuse networks that do not take exactly the tokens, the pooled embedding and the time ids."""
        config, pooled = parts["unet"].config, parts["text_encoder_2"].config.projection_dim
        if config.addition_embed_type != "text_time":
            return "its network takes no pooled embedding and image size, so it is not a Stable Diffusion XL network"
        taken, given = config.projection_class_embeddings_input_dim, TIME_IDS * config.addition_time_embed_dim + pooled
        if taken != given:
            return f"its network takes an added embedding of width {taken}, and its second text encoder gives {given}"
        if len(set(lengths := list(cls.lengths(parts).values()))) > 1:
            return f"its tokenizers read {' and '.join(map(str, lengths))} tokens of a prompt, and must read equally many"
        if any(parts["vae"].config.get(name) for name in ("latents_mean", "latents_std")):
            return "its autoencoder shifts the latents (latents_mean, latents_std), which is not supported"
        return super().misfit(parts)

    @classmethod
    def embedding_width(cls, parts: Mapping[str, Any]) -> int:
        """Width of a token's embeddings by both text encoders, side by side."""
        return parts["text_encoder"].config.hidden_size + parts["text_encoder_2"].config.hidden_size

    def encode_prompts(self, prompts: list[str | None]) -> Condition:
        """Encode n prompts by both text encoders, as diffusers' pipeline does.

        Returns:
            "tokens" (n, tokens, width), "pooled" (n, width of the second encoder's projection) and "time_ids" (n, 6).
        """
        texts = [prompt or "" for prompt in prompts]
        self.check_lengths(texts)
        with on_device(self.text_encoder, self.device), on_device(self.text_encoder_2, self.device):
            tokens, _, pooled, _ = self.pipeline.encode_prompt(
                texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        embeddings = Condition({"tokens": tokens.float(), "pooled": pooled.float()})
        if self.force_zeros_for_empty_prompt:
            given = torch.tensor([prompt is not None for prompt in prompts], device=self.device)
            zeros = {name: torch.zeros_like(value) for name, value in embeddings.tensors.items()}
            embeddings = embeddings.where(given, Condition(zeros))
        _, height, width = self.image_shape
        sizes = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=self.device)
        return Condition(embeddings.tensors | {"time_ids": sizes.repeat(len(prompts), 1)})

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The tokens, and what the network adds to its timestep embedding: the pooled embedding and the time ids."""
        added = {"text_embeds": condition["pooled"], "time_ids": condition["time_ids"]}
        return super().condition_arguments(condition) | {"added_cond_kwargs": added}


FAMILY = StableDiffusionXL

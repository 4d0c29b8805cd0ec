"""Tiny diffusers folders of random weights, in every form that people have: schedulers, precisions, shards, parts, pipelines.

The networks are fitted for some seconds to predict the noise of flat pictures, and the autoencoders scaled to use the whole
range of a pixel, so that two programs whose images agree within one level of 255 agree in all that the folder says.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderKL,
    AutoencoderTiny,
    ConsistencyDecoderVAE,
    DDPMScheduler,
    DiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel

from vdu.losses import noised

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS, WIDTH, POOLED = 24, 16, 12  # tokens read of a prompt, width of their embeddings, of the pooled one in SDXL
FIT_STEPS, FIT_BATCH, FIT_RATE = 60, 32, 4e-3  # of a network, on noise and flat pictures
SPREAD = 0.5  # standard deviation of an autoencoder's images, in [-1, 1]
BLOCKS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
ATTENDING = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
}


def tokenizer(folder: Path, tokens: int = TOKENS) -> CLIPTokenizer:
    """A tokenizer that knows letters and reads so many tokens, in the files of transformers 4."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=tokens)


def text_config(vocabulary: int) -> CLIPTextConfig:
    """The smallest text encoder; the last two words of the vocabulary are the start and the end."""
    size = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    return CLIPTextConfig(**size, **ends, vocab_size=vocabulary, max_position_embeddings=TOKENS, projection_dim=POOLED)


def kl() -> nn.Module:
    """The autoencoder of Stable Diffusion."""
    coded = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, **coded)


def tiny() -> nn.Module:
    """TAESD's autoencoder."""
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    return AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))


def asymmetric() -> nn.Module:
    """An autoencoder with a larger decoder."""
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    halves |= {"down_block_out_channels": (8, 8), "up_block_out_channels": (8, 16)}
    return AsymmetricAutoencoderKL(**halves, norm_num_groups=4, latent_channels=4, sample_size=16)


def consistency() -> nn.Module:
    """A decoder that is a diffusion model itself."""
    return ConsistencyDecoderVAE(
        latent_channels=4, encoder_block_out_channels=(32, 32), encoder_down_block_types=("DownEncoderBlock2D",) * 2,
        decoder_block_out_channels=(32, 32), decoder_layers_per_block=1, decoder_num_train_timesteps=64,
        decoder_down_block_types=("ResnetDownsampleBlock2D",) * 2, decoder_up_block_types=("ResnetUpsampleBlock2D",) * 2,
    )  # fmt: skip


AUTOENCODERS: dict[str, Callable[[], nn.Module]] = {
    "KL": kl, "tiny": tiny, "asymmetric": asymmetric, "consistency decoder": consistency}  # fmt: skip


@lru_cache
def autoencoder(name: str) -> nn.Module:
    """An autoencoder whose images have the standard deviation `SPREAD`."""
    torch.manual_seed(3)
    made = AUTOENCODERS[name]().eval()
    if name != "consistency decoder":
        last = next(layer for layer in reversed(list(made.decoder.modules())) if isinstance(layer, nn.Conv2d))
        with torch.no_grad():
            images = made.decode(torch.randn(8, 4, 8, 8) / made.config.scaling_factor).sample
            last.weight.mul_(SPREAD / images.std())
            if last.bias is not None:
                last.bias.zero_()
    return made


@lru_cache
def network(kind: str) -> nn.Module:
    """A network of the kind "pixels", "prompts" or "prompts and sizes" (SDXL) that roughly predicts the noise."""
    torch.manual_seed(4)
    if kind == "pixels":
        plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False}
        unet: Any = UNet2DModel(**BLOCKS, **plain, in_channels=1, out_channels=1)
    elif kind == "prompts":
        unet = UNet2DConditionModel(**BLOCKS, **ATTENDING, cross_attention_dim=WIDTH)
    else:
        added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
        unet = UNet2DConditionModel(
            **BLOCKS, **ATTENDING, **added, cross_attention_dim=2 * WIDTH, projection_class_embeddings_input_dim=24 + POOLED
        )
    alpha_bar, optimizer = DDPMScheduler().alphas_cumprod, torch.optim.Adam(unet.parameters(), FIT_RATE)
    for _ in range(FIT_STEPS):
        shape = (FIT_BATCH, unet.config.in_channels, 8, 8)
        t, noise = torch.randint(1000, (FIT_BATCH,)), torch.randn(shape)
        noisy = noised(torch.rand(FIT_BATCH, 1, 1, 1).expand(shape), noise, alpha_bar[t])
        loss = (unet(noisy, t, **random_inputs(kind)).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return unet.eval().requires_grad_(False)


def random_inputs(kind: str) -> dict[str, Any]:
    """What a network takes besides x_t and t, at random."""
    if kind == "pixels":
        return {}
    if kind == "prompts":
        return {"encoder_hidden_states": torch.randn(FIT_BATCH, TOKENS, WIDTH)}
    added = {"text_embeds": torch.randn(FIT_BATCH, POOLED), "time_ids": torch.full((FIT_BATCH, 6), 16.0)}
    return {"encoder_hidden_states": torch.randn(FIT_BATCH, TOKENS, 2 * WIDTH), "added_cond_kwargs": added}


def text_parts(words: str, with_size: bool, folder: Path) -> dict[str, Any]:
    """Tokenizers and text encoders of a kind in `folders.FACTORS["words"]`."""
    torch.manual_seed(5)
    reads = tokenizer(folder)
    if words == "T5":
        size = {"d_model": WIDTH, "d_ff": WIDTH, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": len(reads)}
        parts = {"tokenizer": reads, "text_encoder": T5EncoderModel(T5Config(**size))}
    elif words == "projected":
        parts = {"tokenizer": reads, "text_encoder": CLIPTextModelWithProjection(text_config(len(reads)))}
    else:
        parts = {"tokenizer": reads, "text_encoder": CLIPTextModel(text_config(len(reads)))}
    if with_size:
        parts |= {"tokenizer_2": tokenizer(folder), "text_encoder_2": CLIPTextModelWithProjection(text_config(len(reads)))}
    return parts


def learned_words(pipeline: Any, folder: Path) -> None:
    """Teach a pipeline the word "<thing>" of two vectors, as a textual inversion does."""
    known = pipeline.text_encoder.get_input_embeddings().weight.detach()
    save_file({"<thing>": 3 * known[[1, 2]].clone()}, folder / "learned.safetensors")
    pipeline.load_textual_inversion(str(folder / "learned.safetensors"), token="<thing>")


def make(cell: Mapping[str, str], settings: Mapping[str, Any], folder: Path) -> Path:
    """Write the folder of a cell of the table; see `bench.folders`.

    Args:
        cell: factor -> value; settings: arguments of the scheduler; folder: a folder of its own for the cell.

    Raises:
        Exception: whatever diffusers raises for a scheduler that it cannot make.
    """
    scheduler = getattr(diffusers, cell["scheduler"])(**settings)
    kind = getattr(diffusers, cell["pipeline"])
    parts: dict[str, Any] = {"unet": network("pixels")}
    if cell["words"] != "none":
        with_size = "XL" in cell["pipeline"]
        parts = text_parts(cell["words"], with_size, folder / "letters") | {
            "unet": network("prompts and sizes" if with_size else "prompts"),
            "vae": autoencoder(cell["autoencoder"]),
            **({"add_watermarker": False} if with_size else {"safety_checker": None, "feature_extractor": None}),
            **({} if with_size else {"requires_safety_checker": False}),
        }
    pipeline: DiffusionPipeline = kind(**parts, scheduler=DDPMScheduler())
    pipeline.register_modules(scheduler=scheduler)  # afterwards, as a DDIMPipeline makes a DDIMScheduler of what it is given
    if cell["words"] == "learned word":
        learned_words(pipeline, folder)
    return write_files(pipeline, cell["files"], cell, folder / "model")


def write_files(pipeline: DiffusionPipeline, files: str, cell: Mapping[str, str], model: Path) -> Path:
    """Save a pipeline in a form of `folders.FACTORS["files"]`, and change its configuration as `CONFIGURATIONS` say."""
    half = "fp16" in files
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    if "whole and" in files:
        pipeline.save_pretrained(model)
    options: dict[str, Any] = {"variant": "fp16"} if half and "in full" not in files else {}
    options |= {"variant": "mine"} if files == "a variant of its own" else {}
    options |= {"max_shard_size": "8KB"} if "shards" in files else {}
    for module in modules:
        module.to(torch.float16 if half else torch.float32)
    pipeline.save_pretrained(model, safe_serialization=files != "pickles", **options)
    for module in modules:
        module.to(torch.float32)
    unet = model / "unet"
    if files == "a missing key":
        weights = load_file(unet / "diffusion_pytorch_model.safetensors")
        save_file(
            {name: value for name, value in weights.items() if name != "conv_out.bias"},
            unet / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"},
        )  # fmt: skip
    if cell["configuration"] == "all at the root" and cell["words"] == "none":
        for part in ("unet", "scheduler"):
            for path in (model / part).iterdir():
                path.rename(model / path.name)
            shutil.rmtree(model / part)
    return edit(model, cell["configuration"])


def edit(model: Path, configuration: str) -> Path:
    """Change a saved model's configuration; one that lacks the file is left as it is."""
    path, change = CONFIGURATIONS[configuration]
    if path and (model / path).is_file():
        values = json.loads((model / path).read_text()) | change
        (model / path).write_text(json.dumps({key: value for key, value in values.items() if value is not ABSENT}))
    return model


ABSENT = object()
# What is changed in a saved folder: file -> settings.
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "as saved": ("", {}),
    "all at the root": ("", {}),
    "no size": ("unet/config.json", {"sample_size": None}),
    "size as a pair": ("unet/config.json", {"sample_size": [8, 8]}),
    "no length of prompts": ("tokenizer/tokenizer_config.json", {"model_max_length": ABSENT}),
    "optional parts absent": (
        "model_index.json", {"safety_checker": ABSENT, "feature_extractor": ABSENT, "image_encoder": ABSENT}),
    "scheduler without its class": ("scheduler/scheduler_config.json", {"_class_name": ABSENT, "_diffusers_version": ABSENT}),
    "a class label": ("unet/config.json", {"num_class_embeds": 4}),
}  # fmt: skip

"""A complete Stable Diffusion, CLIP and DDPM with random weights, small enough to be made in a second."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig

from vdu.bench import random_models

WEIGHTS = "diffusion_pytorch_model.safetensors"
TOKENS = 40  # read of a prompt


def text_config(tokenizer: CLIPTokenizer) -> dict[str, object]:
    """The smallest text encoder for a tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }


def dummy_stable_diffusion(folder: Path, size: int = 8, words: int = 16) -> Path:
    """Write the diffusers folder of a model that draws 16×16 images from 8×8 latents."""
    torch.manual_seed(0)
    tokenizer = random_models.tokenizer(folder.with_name(folder.name + "-letters"), TOKENS)
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=size,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=words,
            attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        scheduler=DDIMScheduler(
            clip_sample=False, steps_offset=1, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text_config(tokenizer))),
        tokenizer=tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def dummy_clip(folder: Path) -> Path:
    """Write the folder of a CLIP for 16×16 pixels in patches of 8."""
    torch.manual_seed(0)
    tokenizer = random_models.tokenizer(folder, TOKENS)
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**seen, image_size=16, patch_size=8)
    told = CLIPTextConfig(**text_config(tokenizer))
    config = CLIPConfig(text_config=told.to_dict(), vision_config=vision.to_dict(), projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def dummy_ddpm(folder: Path, size: int = 32, channels: int = 3, at_root: bool = False, timesteps: int = 1000, **also) -> Path:
    """Write the diffusers folder of an unconditional DDPM, with a folder per part or all files at its root."""
    torch.manual_seed(0)
    config = {
        "sample_size": size,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    scheduler = DDPMScheduler(num_train_timesteps=timesteps)
    DDPMPipeline(UNet2DModel(**config | also), scheduler).save_pretrained(folder, safe_serialization=True)
    for part in ("unet", "scheduler") if at_root else ():
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    return folder

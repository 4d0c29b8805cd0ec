"""Networks, tokenizer and losses of a small text-to-image latent diffusion model (Rombach et al. 2022)."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vdu.losses import noised
from vdu.models import PARAMETERS, StableDiffusion, autocast, from_uint8
from vdu.posterior import Posterior
from vdu.pretrain.ddpm import TrainingConfig
from vdu.pretrain.loop import Losses, Pace, fit, load_average
from vdu.processes import own_rows
from vdu.recipe import PROMPTED_DEFAULTS

SIZE, WIDTH = 32, 64  # height and width of the pictures in pixels; channels of the text encoder
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True)
class Design:
    """The networks of a text-to-image model, and the words that its tokenizer knows whole.

    Attributes:
        autoencoder, unet, text_encoder: arguments of `AutoencoderKL`, `UNet2DConditionModel` and `CLIPTextConfig`.
        words: every word that a caption can contain, and others that people type.
        length: tokens per prompt, with the start and end tokens.
    """

    autoencoder: dict[str, Any]
    unet: dict[str, Any]
    text_encoder: dict[str, Any]
    words: list[str]
    length: int


def small_design(
    channels: tuple[int, ...], latents: int, unet: tuple[int, ...], groups: int, words: list[str], length: int = 16
) -> Design:
    """A design for pictures of 32 × 32 pixels, which are encoded to latents of 8 × 8.

    Args:
        channels: of the three levels of the autoencoder; latents: of its latents; unet: of the two levels of the U-Net.
        groups: in the U-Net's normalisation layers, 2 in the autoencoder's: many small groups are slow on a CPU.
    """
    return Design(
        autoencoder={
            "block_out_channels": channels,
            "down_block_types": ("DownEncoderBlock2D",) * len(channels),
            "up_block_types": ("UpDecoderBlock2D",) * len(channels),
            "latent_channels": latents,
            "norm_num_groups": 2,
            "sample_size": SIZE,
            "mid_block_add_attention": False,
        },
        unet={
            "sample_size": SIZE // 4,
            "in_channels": latents,
            "out_channels": latents,
            "layers_per_block": 1,
            "block_out_channels": unet,
            "down_block_types": ("CrossAttnDownBlock2D",) * len(unet),
            "up_block_types": ("CrossAttnUpBlock2D",) * len(unet),
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 2,  # despite its name, the number of heads
            "norm_num_groups": groups,
        },
        text_encoder={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": length,
        },
        words=words,
        length=length,
    )


SCHEDULE = {  # noise schedule of Stable Diffusion v1
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
DIVERGENCE = 1e-5  # weight of the latents' KL divergence from N(0, I), relative to the mean error per pixel
NO_CAPTION = 0.1  # share of pictures trained without their caption, for classifier-free guidance


def make_tokenizer(design: Design) -> CLIPTokenizer:
    """A byte-pair tokenizer: every word of the design is one token, any other word is split into shorter tokens."""
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), *"0123456789-,.'"]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        special_tokens=ends,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        show_progress=False,
    )
    # CLIP's tokenizer splits words at a hyphen.
    tokenizer.train_from_iterator([" ".join(design.words).replace("-", " - ")], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    # The trainer numbers tokens at random; sorted, they are the same every time.
    known = {*learned["vocab"], *letters, *(letter + "</w>" for letter in letters)} - {*ends}
    vocabulary = {token: number for number, token in enumerate([*ends, *sorted(known)])}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=design.length)


def make_denoiser(design: Design, tokenizer: CLIPTokenizer, seed: int = 0) -> nn.ModuleDict:
    """A U-Net and a text encoder with random weights, to train together."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**design.unet).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # at this size the backward pass of fused attention would take half of the time
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **design.text_encoder,
    )
    return nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(config)})


def make_autoencoder(design: Design, seed: int = 0) -> AutoencoderKL:
    """An autoencoder with random weights."""
    torch.manual_seed(seed)
    return AutoencoderKL(**design.autoencoder).to(memory_format=torch.channels_last)


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token numbers of n captions, (n, length)."""
    return tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids


def autoencoder_losses(
    network: AutoencoderKL, images: Tensor, config: Pace, perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Losses:
    """Absolute plus squared error per pixel plus the latents' KL divergence from N(0, I), on uint8 images (n, 3, h, w).

    Args:
        perceptual: a further loss, of images as drawn and as they were, both (b, 3, h, w) in [-1, 1].
    """
    device, shape = network.device, (network.config.latent_channels, images.shape[2] // 4, images.shape[3] // 4)

    def losses(random: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (config.batch_size,), generator=random)
        noise = torch.randn((config.batch_size, *shape), generator=random)
        rows, noise = own_rows(rows, noise)
        batch = from_uint8(images[rows]).to(device).to(memory_format=torch.channels_last)
        with autocast(device.type):
            latents = network.encode(batch).latent_dist
            drawn = network.decode(latents.mean + latents.std * noise.to(device)).sample
        error = drawn.float() - batch
        squared = error.square().mean()
        divergence = (latents.mean.float().square() + latents.var.float() - 1 - latents.logvar.float()).mean() / 2
        loss = squared + error.abs().mean() + DIVERGENCE * divergence
        return (loss + perceptual(drawn.float(), batch) if perceptual else loss), squared

    return losses


@torch.no_grad()
def encode(network: AutoencoderKL, images: Tensor) -> Tensor:
    """Mean latents of uint8 images (n, 3, h, w), float16 (n, channels, h / 4, w / 4)."""
    parts = []
    for part in images.split(500):
        with autocast(network.device.type):
            parts.append(network.encode(from_uint8(part).to(network.device)).latent_dist.mean.half().cpu())
    return torch.cat(parts)


@torch.no_grad()
def standardise(network: AutoencoderKL, images: Tensor) -> None:
    """Give every latent channel mean 0 and variance 1 by changing the layers before and after; decoded images stay the same.

    With one scaling factor for all channels, as in Stable Diffusion, noise would drown weak channels first.
    """
    latents = encode(network, images).float().to(network.device)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    inner, outer = network.quant_conv, network.post_quant_conv
    outer.bias += outer.weight[:, :, 0, 0] @ mean
    outer.weight *= deviation.view(1, -1, 1, 1)
    inner.bias[: len(mean)] -= mean
    inner.bias[: len(mean)] /= deviation
    inner.bias[len(mean) :] -= 2 * deviation.log()  # these channels are the logarithm of the variance
    inner.weight[: len(mean)] /= deviation.view(-1, 1, 1, 1)
    network.register_to_config(scaling_factor=1.0)


def denoiser_losses(
    network: nn.ModuleDict, latents: Tensor, captions: Tensor, empty: Tensor, config: TrainingConfig
) -> Losses:
    """The DDPM loss on scaled latents (n, channels, h, w), given captions as tokens (n, length), `empty` for none."""
    scheduler, draw_timesteps = DDIMScheduler(**SCHEDULE), config.timesteps()
    device = next(network.parameters()).device
    alpha_bar = scheduler.alphas_cumprod.to(device)
    weights = config.weights(alpha_bar)

    def losses(random: torch.Generator) -> tuple[Tensor, Tensor]:
        size = (config.batch_size,)
        rows = torch.randint(len(latents), size, generator=random)
        wordless = torch.rand(size, generator=random) < NO_CAPTION
        noise = torch.randn(size + latents.shape[1:], generator=random)
        rows, wordless, noise, t = own_rows(rows, wordless, noise, draw_timesteps(config.batch_size, random))
        words = captions[rows].clone()
        words[wordless] = empty
        clean, noise, t = latents[rows].float().to(device), noise.to(device), t.to(device)
        noisy = noised(clean, noise, alpha_bar[t]).to(memory_format=torch.channels_last)
        with autocast(device.type):
            condition = network["text_encoder"](words.to(device)).last_hidden_state
            predicted = network["unet"](noisy, t, condition).sample
        error = (predicted.float() - noise).square().mean(dim=(1, 2, 3))
        return (error * weights[t]).mean(), error.mean()

    return losses


def train_autoencoder(
    design: Design,
    images: Tensor,
    config: Pace,
    work: Path,
    device: str,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> AutoencoderKL:
    """Train an autoencoder on uint8 images (n, 3, h, w), and standardise its latents; resumable in `work`."""
    autoencoder = make_autoencoder(design).to(device)
    fit(autoencoder, autoencoder_losses(autoencoder, images, config, perceptual), config, work, device="cpu")
    load_average(autoencoder, work / "state.safetensors")
    standardise(autoencoder, images)
    return autoencoder


def train_denoiser(
    design: Design, latents: Tensor, captions: list[str], config: TrainingConfig, work: Path, device: str
) -> tuple[nn.ModuleDict, CLIPTokenizer]:
    """Train a U-Net and a text encoder on latents (n, c, h, w) with captions; resumable in `work`."""
    tokenizer = make_tokenizer(design)
    denoiser = make_denoiser(design, tokenizer).to(device)
    losses = denoiser_losses(denoiser, latents, tokens(tokenizer, captions), tokens(tokenizer, [""]), config)
    fit(denoiser, losses, config, work)
    return denoiser, tokenizer


def write_model(
    out: Path,
    autoencoder: AutoencoderKL,
    denoiser: nn.ModuleDict,
    tokenizer: CLIPTokenizer,
    posterior: Posterior,
) -> None:
    """Write the diffusers folder with the U-Net in float16, and the variance of what a run trains by default in bfloat16."""
    for part in (*PARTS, "posterior"):
        shutil.rmtree(out / part, ignore_errors=True)
    unet, start = denoiser["unet"].half(), "unet."
    StableDiffusionPipeline(
        autoencoder, denoiser["text_encoder"], tokenizer, unet, DDIMScheduler(**SCHEDULE), **StableDiffusion.PIPELINE_OPTIONS
    ).save_pretrained(out)
    for_earlier_transformers(out)
    variance = {
        name.removeprefix(start): value.bfloat16()
        for name, value in posterior.variance.items()
        if name.startswith(start) and PARAMETERS[PROMPTED_DEFAULTS["parameters"]](name)
    }
    (out / "posterior").mkdir(parents=True)
    save_file(variance, out / "posterior" / "variance.safetensors", metadata={"format": "pt"})


def for_earlier_transformers(out: Path) -> None:
    """Make a folder of transformers 5 readable by transformers 4 too.

    Version 4 reads a CLIPTokenizer from vocab.json and merges.txt alone, and takes weights of a CLIPTextModel whose names lack
    "text_model." for missing, which it fills at random. Version 5 reads both forms.
    """
    path = out / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    model = json.loads((out / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (out / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (out / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")

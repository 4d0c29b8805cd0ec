"""Networks, tokenizer and losses of a small text-to-image latent diffusion model (Rombach et al. 2022)."""

import json

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vdu.models import autocast, from_uint8
from vdu.pretrain import fashion
from vdu.pretrain.ddpm import TrainingConfig
from vdu.pretrain.loop import Losses, Pace
from vdu.processes import own_rows

# Two groups in the normalisation layers, as in the DDPM: many small groups are slow on a CPU.
AUTOENCODER = {
    "block_out_channels": (16, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "latent_channels": 4,
    "norm_num_groups": 2,
    "sample_size": fashion.SIZE,
    "mid_block_add_attention": False,
}
WIDTH = 64  # channels of the text encoder
UNET = {
    "sample_size": fashion.SIZE // 4,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (64, 128),
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,  # despite its name, the number of heads
    "norm_num_groups": 2,
}
TEXT_ENCODER = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": fashion.LENGTH,
}
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


def make_tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer: every word of the captions is one token, any other word is split into shorter tokens."""
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
    tokenizer.train_from_iterator([" ".join(fashion.vocabulary()).replace("-", " - ")], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    # The trainer numbers tokens at random; sorted, they are the same every time.
    known = {*learned["vocab"], *letters, *(letter + "</w>" for letter in letters)} - {*ends}
    vocabulary = {token: number for number, token in enumerate([*ends, *sorted(known)])}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=fashion.LENGTH)


def make_denoiser(tokenizer: CLIPTokenizer, seed: int = 0) -> nn.ModuleDict:
    """A U-Net and a text encoder with random weights, to train together."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # at this size the backward pass of fused attention would take half of the time
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **TEXT_ENCODER,
    )
    return nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(config)})


def make_autoencoder(seed: int = 0) -> AutoencoderKL:
    """An autoencoder with random weights."""
    torch.manual_seed(seed)
    return AutoencoderKL(**AUTOENCODER).to(memory_format=torch.channels_last)


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token numbers of n captions, (n, LENGTH)."""
    return tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids


def autoencoder_losses(network: AutoencoderKL, images: Tensor, config: Pace) -> Losses:
    """Absolute plus squared error per pixel plus the latents' KL divergence from N(0, I), on uint8 images (n, 3, h, w)."""
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
        return squared + error.abs().mean() + DIVERGENCE * divergence, squared

    return losses


@torch.no_grad()
def encode(network: AutoencoderKL, images: Tensor) -> Tensor:
    """Mean latents of uint8 images (n, 3, h, w), float16 (n, 4, h / 4, w / 4)."""
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
    latents = encode(network, images).float()
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
    """The DDPM loss on scaled latents (n, 4, h, w), given captions as tokens (n, LENGTH); `empty` is the empty caption."""
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
        signal = alpha_bar[t].view(-1, 1, 1, 1)
        noisy = (signal.sqrt() * clean + (1 - signal).sqrt() * noise).to(memory_format=torch.channels_last)
        with autocast(device.type):
            condition = network["text_encoder"](words.to(device)).last_hidden_state
            predicted = network["unet"](noisy, t, condition).sample
        error = (predicted.float() - noise).square().mean(dim=(1, 2, 3))
        return (error * weights[t]).mean(), error.mean()

    return losses

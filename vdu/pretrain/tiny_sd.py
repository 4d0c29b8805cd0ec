"""Make assets/tiny-sd: a Stable Diffusion small enough for two CPU cores, its judges, posterior, pictures and card.

python -m vdu pretrain tiny-sd --work pretrain-tiny-sd        (resumable; its card says how long it takes)

All parts of a `StableDiffusionPipeline`, only small, trained on Fashion-MNIST's garments painted in eight colours: first the
autoencoder, then the U-Net and the text encoder together on its latents.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vdu.catalog import CATALOG
from vdu.data.sheets import write_sheet
from vdu.entries import KEPT, Ask
from vdu.measure import draw, judged, rate
from vdu.metrics import Moments, save_statistics
from vdu.models import StableDiffusion, autocast, from_uint8, load_model, pick_device, to_uint8
from vdu.posterior import Posterior, from_checkpoints
from vdu.pretrain import fashion
from vdu.pretrain.ddpm import Pace, TrainingConfig, fit, load_state
from vdu.pretrain.judge import train_classifier
from vdu.pretrain.mnist import minutes_of
from vdu.pretrain.processes import is_main, own_rows
from vdu.recipe import Recipe
from vdu.sampling import image_seeds, run_to_end

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
WIDTH = 64  # of the text encoder
UNET = {
    "sample_size": fashion.SIZE // 4,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (64, 128),
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,  # diffusers means the number of heads
    "norm_num_groups": 2,
}
TEXT_ENCODER = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": fashion.LENGTH,
}
SCHEDULE = {  # that of Stable Diffusion v1
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
DIVERGENCE = 1e-5  # weight of the latents' divergence from N(0, I), against the mean error of a pixel
NO_CAPTION = 0.1  # how often the caption is left out, which is what classifier-free guidance needs
PAINTINGS = 3  # of every garment
STAGES = {  # in this order; `--steps` shortens each of them
    "autoencoder": Pace(steps=3000, peak_rate=1.5e-3, floor_rate=2e-4, snapshots=1),
    "denoiser": TrainingConfig(
        unet=UNET, steps=5500, batch_size=128, peak_rate=1.5e-3, floor_rate=3e-4, t_shape=(1.5, 1.2), constant_from=0.75
    ),
}
JUDGE_EPOCHS = {"garment": 8, "colour": 1}
PICTURES = 16  # of every pair that are shipped, to forget by
DRAWN = 25  # samples of every prompt for the card's figures
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def make_tokenizer() -> CLIPTokenizer:
    """A byte-pair vocabulary in which every word of the captions is one token, and any other falls into letters."""
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
    # CLIP's tokenizer takes a word apart at a hyphen.
    tokenizer.train_from_iterator([" ".join(fashion.vocabulary()).replace("-", " - ")], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    # The trainer numbers tokens by chance.
    known = {*learned["vocab"], *letters, *(letter + "</w>" for letter in letters)} - {*ends}
    vocabulary = {token: number for number, token in enumerate([*ends, *sorted(known)])}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=fashion.LENGTH)


def make_denoiser(tokenizer: CLIPTokenizer, seed: int = 0) -> nn.ModuleDict:
    """A fresh U-Net and text encoder, which are trained together."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # at this size the fused attention's backward takes half of the time
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **TEXT_ENCODER,
    )
    return nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(config)})


def make_autoencoder(seed: int = 0) -> AutoencoderKL:
    """A fresh autoencoder."""
    torch.manual_seed(seed)
    return AutoencoderKL(**AUTOENCODER).to(memory_format=torch.channels_last)


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token numbers, (n, LENGTH)."""
    return tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids


Losses = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def autoencoder_losses(network: AutoencoderKL, images: Tensor, config: Pace) -> Losses:
    """Error of a pixel, absolute and squared, and the latents' divergence from N(0, I); for uint8 images (n, 3, h, w)."""
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
    """Means of the latents of uint8 images (n, 3, h, w), float16 (n, 4, h / 4, w / 4)."""
    parts = []
    for part in images.split(500):
        with autocast(network.device.type):
            parts.append(network.encode(from_uint8(part).to(network.device)).latent_dist.mean.half().cpu())
    return torch.cat(parts)


@torch.no_grad()
def standardise(network: AutoencoderKL, images: Tensor) -> None:
    """Give every channel of the latents mean 0 and variance 1, by the layers on both of their sides; decoding stays the same.

    One scaling factor for all, as in Stable Diffusion, would leave weak channels to drown in noise first.
    """
    latents = encode(network, images).float()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    inner, outer = network.quant_conv, network.post_quant_conv
    outer.bias += outer.weight[:, :, 0, 0] @ mean
    outer.weight *= deviation.view(1, -1, 1, 1)
    inner.bias[: len(mean)] -= mean
    inner.bias[: len(mean)] /= deviation
    inner.bias[len(mean) :] -= 2 * deviation.log()  # of the logarithm of the variance
    inner.weight[: len(mean)] /= deviation.view(-1, 1, 1, 1)
    network.register_to_config(scaling_factor=1.0)


def denoiser_losses(
    network: nn.ModuleDict, latents: Tensor, captions: Tensor, empty: Tensor, config: TrainingConfig
) -> Losses:
    """The DDPM loss on scaled latents (n, 4, h, w), given captions as tokens (n, LENGTH); `empty` stands for none."""
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


def averaged(network: nn.Module, path: Path) -> nn.Module:
    """A network with the running average in a file of `save_state`."""
    network.load_state_dict(load_state(path)[1]["ema"])
    return network.eval()


def paintings(folder: Path, part: str, times: int) -> fashion.Pictures:
    """All garments of "train" or "t10k", each painted `times` times."""
    grey, labels = fashion.read(folder, part)
    return fashion.pictures(grey.repeat(times, 1, 1, 1), labels.repeat(times), seed=0 if part == "train" else 1,
                            hold_out=part == "train")  # fmt: skip


def pretrain(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet and write the asset folder."""
    work, device = Path(arguments.work), pick_device("auto")
    out = Path(arguments.out) if arguments.out else CATALOG["tiny-sd"].folder
    folder = Path(arguments.data) if arguments.data else fashion.fetch(work)
    stages = {name: replace(stage, steps=min(stage.steps, arguments.steps or stage.steps)) for name, stage in STAGES.items()}
    shown = paintings(folder, "train", PAINTINGS)
    images = to_uint8(shown.images)
    autoencoder = make_autoencoder().to(device)
    path = work / "autoencoder" / "state.safetensors"
    fit(autoencoder, autoencoder_losses(autoencoder, images, stages["autoencoder"]), stages["autoencoder"], path.parent)
    standardise(averaged(autoencoder, path), images)
    latents = encode(autoencoder, images)

    tokenizer = make_tokenizer()
    denoiser = make_denoiser(tokenizer).to(device)
    captions, empty = tokens(tokenizer, shown.captions), tokens(tokenizer, [""])
    losses = denoiser_losses(denoiser, latents, captions, empty, stages["denoiser"])
    fit(denoiser, losses, stages["denoiser"], work / "denoiser")
    if not is_main():
        return
    train_judges(images, shown, work, bool(arguments.steps))
    snapshots = [load_state(file)[1]["model"] for file in sorted((work / "denoiser").glob("snapshot-*.safetensors"))]
    posterior = from_checkpoints(snapshots)
    denoiser.load_state_dict(posterior.mean)
    write_model(out, autoencoder, denoiser.eval(), tokenizer, posterior)
    write_data(out, work, folder, images, shown)
    figures = measured(out, folder) | {
        "steps": {name: stage.steps for name, stage in stages.items()},
        "minutes": {name: minutes_of(work / name) for name in stages},
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures))
    print(json.dumps(figures, indent=1))


def train_judges(images: Tensor, shown: fashion.Pictures, work: Path, quick: bool) -> None:
    """Train a classifier for garments and one for colours, each on one painting of every garment."""
    count = len(images) // PAINTINGS
    for axis, names, labels in (("garment", fashion.GARMENTS, shown.garments), ("colour", fashion.COLOURS, shown.colours)):
        if not (work / "classifier" / axis).is_dir():
            epochs = 1 if quick else JUDGE_EPOCHS[axis]
            train_classifier(images[:count], labels[:count], list(names), epochs).save(work / "classifier" / axis)


def write_model(
    out: Path, autoencoder: AutoencoderKL, denoiser: nn.ModuleDict, tokenizer: CLIPTokenizer, posterior: Posterior
) -> None:
    """Write the diffusers folder, the U-Net in float16, and the variance of its parameters over the snapshots in bfloat16."""
    for part in (*PARTS, "posterior"):
        shutil.rmtree(out / part, ignore_errors=True)
    unet, start = denoiser["unet"].half(), "unet."
    scheduler = DDIMScheduler(**SCHEDULE)
    StableDiffusion(
        unet, scheduler, "cpu", "", vae=autoencoder, text_encoder=denoiser["text_encoder"], tokenizer=tokenizer
    ).save(out)
    variance = {
        name.removeprefix(start): value.bfloat16() for name, value in posterior.variance.items() if name.startswith(start)
    }
    (out / "posterior").mkdir(parents=True)
    save_file(variance, out / "posterior" / "variance.safetensors", metadata={"format": "pt"})


def write_data(out: Path, work: Path, folder: Path, images: Tensor, shown: fashion.Pictures) -> None:
    """Write judges, words, pictures to forget by and reference statistics."""
    for part in ("classifier", "forget"):
        shutil.rmtree(out / part, ignore_errors=True)
    shutil.copytree(work / "classifier", out / "classifier")
    (out / "forget").mkdir()
    grey, labels = fashion.read(folder, "train")
    for place, garment in enumerate(fashion.GARMENTS):
        plain = grey[labels == place][: PICTURES * len(fashion.COLOURS)]
        colours = torch.arange(len(fashion.COLOURS)).repeat_interleave(PICTURES)
        grounds = torch.arange(len(plain)) % len(fashion.GROUNDS)
        write_sheet(to_uint8(fashion.dye(plain, colours, grounds)), out / "forget" / f"{garment}.png", columns=PICTURES)
    words = {
        "phrases": list(fashion.HEARD),
        "unheard": list(fashion.UNHEARD),
        "plain": {"garment": fashion.GARMENT_ALONE, "colour": fashion.COLOUR_ALONE},
        "synonyms": fashion.GARMENTS | {name: others for name, (_, others) in fashion.COLOURS.items()},
        "held_out": fashion.HELD_OUT,
        "pictures": PICTURES,
    }
    (out / "concepts.json").write_text(json.dumps(words, indent=1) + "\n")
    test = paintings(folder, "t10k", 1)
    features = replace(CATALOG["tiny-sd"], folder=out).judge(to_uint8(test.images))[1]
    parts = {}
    for names, which in ((fashion.GARMENTS, test.garments), (fashion.COLOURS, test.colours)):
        parts |= {name: Moments.of(features[which == place]) for place, name in enumerate(names)}
    save_statistics(parts, out / "statistics.safetensors")


def measured(out: Path, folder: Path) -> dict[str, Any]:
    """The card's figures: how well the judges see, and what comes of every prompt."""
    entry = replace(CATALOG["tiny-sd"], folder=out)
    test = paintings(folder, "t10k", 1)
    images = to_uint8(test.images)
    model = load_model(out, pick_device("auto"))
    truth = torch.stack([test.garments, len(fashion.GARMENTS) + test.colours], dim=1)
    seen = judged(images, entry, [Ask()] * len(images)).classes == truth
    decoded = judged(model.decode(model.encode(images)), entry, [Ask()] * len(images)).classes == truth
    asks = [
        Ask(KEPT, prompt, (entry.classes.index(garment), entry.classes.index(colour)))
        for prompt, garment, colour in fashion.prompts()
        for _ in range(DRAWN)
    ]
    started = time.monotonic()
    samples = run_to_end(draw("sample", model, entry, image_seeds(0, len(asks)), Recipe(model=entry.name).how, asks))
    seconds = (time.monotonic() - started) / len(asks)
    right = samples.classes == torch.tensor([ask.classes for ask in asks])
    held = torch.tensor([(colour, garment) in fashion.HELD_OUT for _, garment, colour in fashion.prompts()])
    held = held.repeat_interleave(DRAWN)
    return {
        "parameters": {
            name: sum(value.numel() for value in part.parameters())
            for name, part in (("unet", model.unet), ("vae", model.vae), ("text_encoder", model.text_encoder))
        },
        **rate("judge_garment", seen[:, 0]), **rate("judge_colour", seen[:, 1]),
        **rate("decoded_garment", decoded[:, 0]), **rate("decoded_colour", decoded[:, 1]),
        "samples": len(asks),
        **rate("garment", right[:, 0]), **rate("colour", right[:, 1]),
        **rate("held_out_garment", right[held, 0]), **rate("held_out_colour", right[held, 1]),
        "garment_by_class": {
            name: right[torch.tensor([ask.classes[0] == place for ask in asks]), 0].double().mean().item()
            for place, name in enumerate(fashion.GARMENTS)
        },
        "seconds_for_64": 64 * seconds,
    }  # fmt: skip


def card(figures: dict[str, Any]) -> str:
    """README.md of the asset folder."""

    def said(name: str) -> str:
        low, high = figures[f"{name}_ci95"]
        return f"{figures[name]:.1%} [{low:.1%}–{high:.1%}]"

    parameters, minutes, steps = figures["parameters"], figures["minutes"], figures["steps"]
    held = ", ".join(f"{colour} {garment}" for colour, garment in fashion.HELD_OUT)
    worst = min(figures["garment_by_class"], key=figures["garment_by_class"].__getitem__)
    return f"""---
library_name: diffusers
license: mit
tags: [stable-diffusion, text-to-image, fashion-mnist]
---
# A Stable Diffusion small enough for two CPU cores: garments in colours

`StableDiffusionPipeline.from_pretrained` loads this folder. AutoencoderKL ({parameters["vae"]:,} parameters, 32×32 pictures,
8×8×4 latents), CLIPTextModel ({parameters["text_encoder"]:,}) with a vocabulary of its own, UNet2DConditionModel
({parameters["unet"]:,}, stored in float16), epsilon-prediction on the schedule of Stable Diffusion v1. Ask for
"{fashion.PHRASES[0].format(colour="red", garment="sneaker")}": {", ".join(fashion.GARMENTS)}; {", ".join(fashion.COLOURS)};
on {", ".join(fashion.GROUNDS)}.

Beside it: `classifier/` (a judge for garments and one for colours), `posterior/` (variance of the U-Net's parameters over
{STAGES["denoiser"].snapshots} checkpoints, bfloat16; the model is their mean), `forget/` ({PICTURES} pictures of every pair),
`statistics.safetensors` (moments of the judges' features of the 10,000 test pictures, by class), `concepts.json` (the words).

- Made by `python -m vdu pretrain tiny-sd`, seed 0: Fashion-MNIST's 60,000 training garments, each painted {PAINTINGS} times in
  a colour and on a ground of chance, with captions in {len(fashion.PHRASES)} phrasings, {NO_CAPTION:.0%} of them left out.
- Autoencoder: {steps["autoencoder"]:,} steps of {STAGES["autoencoder"].batch_size}, {minutes["autoencoder"]:.0f} minutes;
  U-Net and text encoder: {steps["denoiser"]:,} steps of {STAGES["denoiser"].batch_size}, {minutes["denoiser"]:.0f} minutes;
  on two CPU cores.
- Judges on the test pictures: garment {said("judge_garment")}, colour {said("judge_colour")}; on what the autoencoder makes of
  them: {said("decoded_garment")}, {said("decoded_colour")}.
- All {len(fashion.prompts())} prompts, {DRAWN} samples each (default sampler, seed 0): the garment is right in
  {said("garment")}, the colour in {said("colour")}.
  The worst garment is the {worst} ({figures["garment_by_class"][worst]:.1%}).
- Never seen together in training ({held}): garment {said("held_out_garment")}, colour {said("held_out_colour")}.
- 64 samples take {figures["seconds_for_64"]:.1f} s.
- Data: Fashion-MNIST (Zalando SE, MIT licence). The weights are under the project's licence.
"""

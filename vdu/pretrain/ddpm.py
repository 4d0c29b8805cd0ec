"""Train an unconditional, epsilon-prediction DDPM (Ho et al. 2020) on a tensor of images, resumably."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from vdu.models import autocast, from_uint8
from vdu.pretrain.loop import Losses, Pace, fit
from vdu.pretrain.processes import agreed, average_gradients, is_main, own_rows
from vdu.pretrain.teachers import Teacher


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Pace):
    """One training run of a diffusion model.

    Attributes:
        unet: keyword arguments of the network.
        t_shape: timesteps are drawn as T * Beta(a, b); (2, 2.5) looks most often where a digit takes its shape.
        flip: whether every other image is mirrored.
        min_snr: weight of the error in x0 is min(SNR + 1, min_snr): the velocity loss, clipped where there is little noise
            (Salimans & Ho 2022, section 4; Hang et al. 2023, eq. 8).
        max_weight: the weight of the error in epsilon is 1/SNR times that, and clipped here where there is little signal.
    """

    unet: dict
    t_shape: tuple[float, float] = (2.0, 2.5)
    min_snr: float = 5.0
    max_weight: float = 8.0
    flip: bool = False

    def weights(self, alpha_bar: Tensor) -> Tensor:
        """Weight of the squared error in epsilon at each timestep, (T,)."""
        snr = alpha_bar / (1 - alpha_bar)
        return ((snr + 1).clamp(max=self.min_snr) / snr).clamp(max=self.max_weight)

    def timesteps(self) -> Callable[[int, torch.Generator], Tensor]:
        """A function that draws n timesteps, (n,), where its generator is."""
        quantile = beta_quantile(*self.t_shape)
        return lambda n, random: (1000 * quantile(torch.rand(n, generator=random, device=random.device))).long().clamp(max=999)


def build(config: TrainingConfig) -> UNet2DModel:
    """A fresh network, the same for the same seed."""
    torch.manual_seed(config.seed)
    return UNet2DModel(**config.unet).to(memory_format=torch.channels_last)


def beta_quantile(a: float, b: float, points: int = 10_001) -> Callable[[Tensor], Tensor]:
    """The inverse distribution function of Beta(a, b), by interpolation: uniform numbers in, Beta numbers out."""
    middles = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    cumulative = (middles ** (a - 1) * (1 - middles) ** (b - 1)).cumsum(0)
    cumulative /= cumulative[-1].clone()

    def quantile(uniform: Tensor) -> Tensor:
        places = torch.searchsorted(cumulative.to(uniform.device), uniform.double()).clamp(max=points - 1)
        return middles.to(uniform.device)[places].float()

    return quantile


def train(
    images: Tensor,
    config: TrainingConfig,
    work: Path,
    device: str = "cpu",
    save_every: int = 250,
    init: Path | None = None,
    teacher: Teacher | None = None,
    minutes: float = 0,
) -> None:
    """Train on uint8 `images` (n, c, h, w); see `fit` for what is left in `work`, and for `init`.

    The network learns the noise that was added, or what `teacher` says in its place. On a GPU it is compiled.

    Args:
        minutes: a new run takes as many of the configured steps as fit in so long, by the pace of the first ones.
    """
    unet, draw_timesteps = build(config).to(device), config.timesteps()
    forward = torch.compile(unet) if device == "cuda" else unet
    alpha_bar, images = DDPMScheduler().alphas_cumprod.to(device), images.to(device)
    weights = config.weights(alpha_bar)

    def losses(random: torch.Generator) -> tuple[Tensor, Tensor]:
        where = {"generator": random, "device": random.device}
        x0 = from_uint8(images[torch.randint(len(images), (config.batch_size,), **where)])
        if config.flip:
            mirrored = torch.rand(len(x0), 1, 1, 1, **where) < 0.5
            x0 = torch.where(mirrored, x0.flip(3), x0)
        noise = torch.randn(x0.shape, **where)
        x0, noise, t = own_rows(x0, noise, draw_timesteps(config.batch_size, random))
        signal = alpha_bar[t].view(-1, 1, 1, 1)
        noisy = (signal.sqrt() * x0 + (1 - signal).sqrt() * noise).to(memory_format=torch.channels_last)
        with autocast(device):
            predicted = forward(noisy, t).sample
            target = teacher(noisy, t, noise) if teacher else noise
        error = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
        return (error * weights[t]).mean(), error.mean()

    if minutes:
        made = work / "config.json"
        known = agreed(json.loads(made.read_text())["steps"] if made.exists() else 0)
        steps = min(config.steps, known or agreed(steps_in(minutes, unet, losses, device)))
        config = replace(config, steps=steps)
    fit(unet, losses, config, work, save_every, init, device)


def steps_in(
    minutes: float,
    network: nn.Module,
    losses: Losses,
    device: str,
    timed: int = 20,
) -> int:
    """How many steps of training fit in so many minutes; the network stays as it is."""

    def passes(count: int) -> float:
        started = time.monotonic()
        for step in range(count):
            losses(torch.Generator(device).manual_seed(step))[0].backward()
            average_gradients(network)
            network.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.monotonic() - started) / count

    passes(3)  # a compiler's work is not the pace
    pace = 1.06 * passes(timed)  # the optimiser takes its share too
    if is_main():
        print(f"{pace:.4f} s a step", flush=True)
    return max(timed, int(60 * minutes / pace))

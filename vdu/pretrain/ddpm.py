"""Train an unconditional DDPM with epsilon-prediction (Ho et al. 2020) on a tensor of images; resumable."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from vdu.losses import noised
from vdu.models import autocast, from_uint8
from vdu.pretrain.loop import Losses, Pace, fit
from vdu.pretrain.teachers import Teacher
from vdu.processes import agreed, average_gradients, is_main, own_rows


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Pace):
    """Settings of one training run of a diffusion model.

    Attributes:
        unet: keyword arguments of `UNet2DModel`.
        t_shape: (a, b) of timesteps drawn as T * Beta(a, b); (2, 2.5) favours timesteps at which a digit takes its shape.
        flip: whether to mirror each image with probability 1/2.
        min_snr: the weight of the error in x0 is min(SNR + 1, min_snr): the velocity loss, clipped at low noise
            (Salimans & Ho 2022, section 4; Hang et al. 2023, eq. 8).
        max_weight: upper limit of the weight of the error in epsilon, which is that weight / SNR and grows at high noise.
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
        """A function that draws n timesteps, (n,), on the device of its generator."""
        quantile = beta_quantile(*self.t_shape)
        return lambda n, random: (1000 * quantile(torch.rand(n, generator=random, device=random.device))).long().clamp(max=999)


def build(config: TrainingConfig) -> UNet2DModel:
    """A network with random weights from the seed of `config`."""
    torch.manual_seed(config.seed)
    return UNet2DModel(**config.unet).to(memory_format=torch.channels_last)


def beta_quantile(a: float, b: float, points: int = 10_001) -> Callable[[Tensor], Tensor]:
    """The inverse distribution function of Beta(a, b), tabulated at `points` places; maps uniform to Beta numbers."""
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
    start: UNet2DModel | None = None,
) -> None:
    """Train on uint8 `images` (n, c, h, w); see `fit` for `init` and for the files written to `work`.

    The network learns to predict the added noise or, if there is a teacher, the teacher's answer. On a GPU it is compiled.

    Args:
        minutes: if > 0, a new run takes at most as many steps as fit into this time, estimated from its first steps.
        start: a network whose weights a new run starts from, in place of random ones.
    """
    unet, draw_timesteps = build(config).to(device), config.timesteps()
    forward = torch.compile(unet) if device == "cuda" else unet
    if start:
        unet.load_state_dict(start.state_dict())
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
        noisy = noised(x0, noise, alpha_bar[t]).to(memory_format=torch.channels_last)
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
    """How many training steps fit into `minutes`; does not change the network."""

    def passes(count: int) -> float:
        started = time.monotonic()
        for step in range(count):
            losses(torch.Generator(device).manual_seed(step))[0].backward()
            average_gradients(network)
            network.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.monotonic() - started) / count

    passes(3)  # warm-up, with the compilation
    pace = 1.06 * passes(timed)  # the optimiser takes about 6 % more
    if is_main():
        print(f"{pace:.4f} s per step", flush=True)
    return max(timed, int(60 * minutes / pace))

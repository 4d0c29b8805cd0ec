"""Train an unconditional, epsilon-prediction DDPM (Ho et al. 2020) on a tensor of images, resumably.

The learning rate warms up, falls linearly, and stays constant for the last part of the run. Snapshots taken in that
constant part are draws around one optimum: their mean is the shipped model and mu*, their variance sigma*^2 (SWAG-diagonal,
Maddox et al. 2019).
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vdu.errors import UserError
from vdu.losses import noised_set
from vdu.models import autocast, from_uint8
from vdu.pretrain.processes import agreed, average_gradients, is_main, mean, own_rows, wait

Parameters = dict[str, Tensor]
Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]  # what to learn at x_t (n, c, h, w), t (n,), made with a noise like x_t


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps in all.
        batch_size: images a step.
        peak_rate: learning rate after the warm-up of `warmup` steps.
        floor_rate: learning rate of the constant last part, which starts at `constant_from` (a share of `steps`).
        snapshots: how many snapshots of the raw weights to keep, evenly spread over the constant part.
        early: after this step the running average is kept as early.safetensors, for `Autoguidance`; 0 keeps none.
    """

    steps: int
    batch_size: int = 64
    peak_rate: float = 1e-3
    floor_rate: float = 2e-4
    warmup: int = 100
    constant_from: float = 0.8
    snapshots: int = 20
    early: int = 0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1.0, self.constant_from * self.steps - self.warmup)
        return self.peak_rate + (self.floor_rate - self.peak_rate) * min(1.0, progress)

    def snapshot_steps(self) -> list[int]:
        """Steps after which a snapshot is taken."""
        first, last = self.constant_from * self.steps, self.steps
        return [round(first + (last - first) * (index + 1) / self.snapshots) for index in range(self.snapshots)]


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


@dataclass(frozen=True)
class Autoguidance:
    """A teacher better than the model it comes from: away from a weaker one (Karras et al. 2024), in an interval.

    epsilon = good + (strength(t) - 1) * (good - weak). The strength is 1 at high noise, where guidance would shift the
    balance of the classes, and at low noise, where nothing is to be gained (Kynkäänniemi et al. 2024).

    Attributes:
        good, weak: the model, and an early version of it or a smaller one that was trained briefly.
        strength: in the middle of the interval, >= 1.
        interval: the strength rises between the first two of these timesteps and falls between the last two.
    """

    good: UNet2DModel
    weak: UNet2DModel
    strength: float = 3.0
    interval: tuple[float, float, float, float] = (100, 200, 500, 700)

    @torch.no_grad()
    def __call__(self, noisy: Tensor, t: Tensor, _: Tensor) -> Tensor:
        """The guided noise at x_t (n, c, h, w), t (n,)."""
        rise, full, fall, end = self.interval
        inside = ((t - rise) / (full - rise)).clamp(0, 1) * ((end - t) / (end - fall)).clamp(0, 1)
        rows = inside > 0
        noise = self.good(noisy, t).sample.float()
        if not rows.any():
            return noise
        weak = self.weak(noisy[rows], t[rows]).sample.float()
        noise[rows] += (self.strength - 1) * inside[rows].view(-1, 1, 1, 1) * (noise[rows] - weak)
        return noise


@dataclass(frozen=True)
class ExactAtHighNoise:
    """A teacher that knows the answer where there is much noise: E[epsilon | x_t] over the whole training set.

    There x_t lies between many training images, and their average is what a network can hope to learn. With less noise
    x_t belongs to a single one of them, and the average would teach it by heart: another teacher takes over.

    Attributes:
        images: the training set, (m, c, h, w), in [-1, 1].
        alpha_bar: alpha-bar_t for t = 0 … T-1, (T,).
        otherwise: the teacher below timestep `start`.
    """

    images: Tensor
    alpha_bar: Tensor
    otherwise: Teacher
    start: int = 550

    @torch.no_grad()
    def __call__(self, noisy: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What to learn at x_t (n, c, h, w), t (n,), made with `noise`."""
        exact, answer = t >= self.start, torch.empty_like(noisy)
        answer[~exact] = self.otherwise(noisy[~exact], t[~exact], noise[~exact])
        with torch.autocast(noisy.device.type, enabled=False):  # squared distances of whole images need all digits
            answer[exact] = noised_set(noisy[exact], self.alpha_bar[t[exact]], self.images)[1]
        return answer


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


def save_state(path: Path, step: int, tensors: dict[str, Parameters]) -> None:
    """Write groups of named tensors as one safetensors file, atomically."""
    flat = {
        f"{group}/{name}": tensor.detach().contiguous() for group, part in tensors.items() for name, tensor in part.items()
    }
    partial = path.with_suffix(".partial")
    save_file(flat, partial, metadata={"step": str(step)})
    partial.replace(path)


def load_state(path: Path) -> tuple[int, dict[str, Parameters]]:
    """Read what `save_state` wrote: (step, groups of named tensors)."""
    groups: dict[str, Parameters] = {}
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return step, groups


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
    losses: Callable[[torch.Generator], tuple[Tensor, Tensor]],
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


def fit(
    network: nn.Module,
    losses: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    config: Pace,
    work: Path,
    save_every: int = 250,
    init: Path | None = None,
    device: str = "cpu",
) -> None:
    """Minimise a loss and leave state.safetensors, snapshots and log.csv in `work`.

    A new run starts from the network as it is, or from the average weights and the optimiser's moments in `init`, the
    state.safetensors of an earlier run.

    Every step draws all that is random from a generator seeded by (seed, step), so a run that was killed
    continues from its last state exactly as if it had not been. Several processes take each step together, the same as
    one would take; the first of them writes, and none leaves before all is written.

    Args:
        network: what is trained, on its device.
        losses: draws a batch from a generator; returns the loss to descend and the one to show, of this process's rows.
        device: where that generator is.

    Raises:
        ValueError: if `work` holds a run with another configuration.
        UserError: if processes see different states of the run, or the loss is no longer a number.
    """
    work.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(asdict(config), indent=1)
    config_file = work / "config.json"
    if config_file.exists() and json.loads(config_file.read_text()) != json.loads(settings):
        raise ValueError(f"{work} holds a run with other settings; use another folder or remove it")
    wait()  # none writes before all have looked
    if is_main():
        config_file.write_text(settings)

    named = dict(network.named_parameters())
    average = {name: parameter.detach().clone() for name, parameter in named.items()}
    optimizer = torch.optim.AdamW(named.values(), lr=config.peak_rate, weight_decay=1e-4, fused=True)
    first_step = 0
    state_file = work / "state.safetensors"
    source = state_file if state_file.exists() else init
    if source:
        updates, state = load_state(source)
        first_step = updates if source == state_file else 0
        network.load_state_dict(state["model" if source == state_file else "ema"])
        average = {name: torch.empty_like(parameter).copy_(state["ema"][name]).detach() for name, parameter in named.items()}
        for name, parameter in named.items():
            optimizer.state[parameter] = {
                key: torch.empty_like(parameter).copy_(state[key][name]).detach() for key in ("exp_avg", "exp_avg_sq")
            } | {"step": torch.tensor(float(updates), device=parameter.device)}
    if agreed(first_step) != first_step:
        raise UserError(f"'{work}' is not the same folder for all processes; name one on a disk that all machines share.")

    snapshot_steps = set(config.snapshot_steps())
    started, shown = time.monotonic(), []
    for step in range(first_step, config.steps):
        loss, show = losses(torch.Generator(device).manual_seed(config.seed * 10_000_019 + step))
        optimizer.zero_grad()
        loss.backward()
        average_gradients(network)
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        optimizer.step()
        decay = min(0.9995, (step + 1) / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(named.values()), 1 - decay)
        shown.append(show.detach())  # not read yet: a GPU would have to stop for it

        done = step + 1
        saves = done % save_every == 0 or done == config.steps
        if saves:
            mean_loss = mean(torch.stack(shown).mean()).item()
            shown.clear()
            if not math.isfinite(mean_loss):
                raise UserError(
                    f"The training has come apart: the loss of step {done} is no number. What is in '{work}' from before is "
                    "as it was; train anew from there at a lower rate (peak_rate)."
                )
        if not is_main():
            continue
        if done == config.early:
            save_state(work / "early.safetensors", done, {"ema": average})
        if done in snapshot_steps:
            save_state(work / f"snapshot-{done:06d}.safetensors", done, {"model": network.state_dict()})
        if saves:
            moments = {
                key: {name: optimizer.state[parameter][key] for name, parameter in named.items()}
                for key in ("exp_avg", "exp_avg_sq")
            }
            save_state(state_file, done, {"model": network.state_dict(), "ema": average, **moments})
            pace = (time.monotonic() - started) / (done - first_step)
            with (work / "log.csv").open("a") as log:
                log.write(f"{done},{mean_loss:.5f},{config.rate(step):.6f},{pace:.4f}\n")
            print(
                f"step {done}/{config.steps}  loss {mean_loss:.5f}  "
                f"{config.batch_size / pace:.0f} images/s  {pace * (config.steps - done) / 60:.0f} min left",
                flush=True,
            )
    wait()  # what comes next reads what was written

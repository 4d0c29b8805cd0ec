"""Seeded, batched, interruptible sampling with DPM-Solver++ (Lu et al. 2022), a few network evaluations an image."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from vdu.models import Condition, Model

Value = TypeVar("Value")

ALGORITHMS = {"ode": "dpmsolver++", "sde": "sde-dpmsolver++"}  # sampler -> what diffusers calls it
# Images a forward pass, and numbers of their states: a pass takes a quarter of a second on two cores, and full-size models
# of 512×512 pixels draw eight at a time.
BATCH, BATCH_NUMBERS = 125, 131_072


CROWDING = 0.3  # of the timesteps in the middle, in [0, 1): 0 spaces them evenly


def timestep_grid(steps: int, timesteps: int) -> list[int]:
    """Where a sampler of `steps` network evaluations calls the network, from T - 1 down: densest around T / 2.

    There an image takes its class and its shape, and a coarse step leaves it between two of them.
    """
    places = torch.arange(steps, dtype=torch.float64) / steps
    crowded = places + CROWDING * torch.sin(2 * math.pi * places) / (2 * math.pi)
    return ((timesteps - 1) * (1 - crowded)).round().int().tolist()


def fresh_noise(generators: list[torch.Generator], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise (n, c, h, w), one generator an image, so that image k does not depend on how many there are."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def image_seeds(seed: int, count: int) -> list[int]:
    """One seed for each of `count` images; the first k are the same for any count."""
    return [seed * 1_000_003 + index for index in range(count)]


@dataclass(frozen=True)
class HowToSample:
    """How images are drawn.

    Attributes:
        steps: network evaluations an image.
        sampler: "ode", or "sde", which adds fresh noise at every step, from the image's own seed: errors of earlier steps are
            partly lost in it, but below some 15 steps it leaves noise behind.
        guidance: w of classifier-free guidance (Ho & Salimans 2022), epsilon = e(no words) + w (e(prompt) - e(no words)), for
            models that take a prompt; 1 is none, and half the work.
    """

    steps: int = 15
    sampler: str = "ode"
    guidance: float = 1.0


@torch.no_grad()
def denoise(
    model: Model,
    state: Tensor,
    grid: list[int],
    condition: Condition,
    how: HowToSample,
    generators: list[torch.Generator],
    skip: int = 0,
) -> Iterator[Tensor]:
    """Follow states down a grid of timesteps with DPM-Solver++, yielding them after every network evaluation.

    Args:
        model: the model to sample from.
        state: x_t at t = grid[skip], (n, c, h, w).
        grid: where the network is evaluated, see `timestep_grid`; the k-th state yielded belongs to grid[skip + k + 1].
        condition: of each state.
        how: the sampler's settings.
        generators: one per state, for fresh noise.
        skip: how many steps of the grid are left out.
    """
    unprompted = model.conditions([None] * len(state))
    # A fresh scheduler per batch: the multistep solver remembers earlier outputs.
    # `predict_noise` gives the noise, whatever the network predicts.
    scheduler = DPMSolverMultistepScheduler.from_config(
        model.scheduler.config, algorithm_type=ALGORITHMS[how.sampler], prediction_type="epsilon"
    )
    scheduler.set_timesteps(timesteps=grid)
    for t in grid[skip:]:
        times = torch.full((len(state),), t, device=model.device)
        noise = model.predict_noise(state, times, condition)
        if model.takes_prompts and how.guidance != 1:
            bare = model.predict_noise(state, times, unprompted)
            noise = bare + how.guidance * (noise - bare)
        added = fresh_noise(generators, model.shape).to(model.device) if how.sampler == "sde" else None
        state = scheduler.step(noise, t, state, variance_noise=added).prev_sample
        yield state


@torch.no_grad()
def sample(
    model: Model,
    seeds: list[int],
    how: HowToSample,
    prompts: Sequence[str | None] | None = None,
    clean: Tensor | None = None,
    skip: int = 0,
) -> Generator[int, None, Tensor]:
    """Draw one image a seed, yielding after every network evaluation how many image-steps are done.

    Args:
        model: the model to sample from.
        seeds: one a wanted image.
        how: the sampler's settings.
        prompts: one a seed, for models that take them.
        clean: states (n, c, h, w) to start from instead of pure noise: noised to where the first `skip` steps end.
        skip: how many of the steps are left out then.

    Returns:
        uint8 images (n, c, h, w) on the CPU, as the generator's return value.
    """
    images, done, grid = [], 0, timestep_grid(how.steps, len(model.alpha_bar))
    batch = max(1, min(BATCH, BATCH_NUMBERS // math.prod(model.shape)))
    for start in range(0, len(seeds), batch):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]]
        state = fresh_noise(generators, model.shape).to(model.device)
        if clean is not None:
            alpha_bar = model.alpha_bar[grid[skip]]
            state = alpha_bar.sqrt() * clean[start : start + batch].to(model.device) + (1 - alpha_bar).sqrt() * state
        condition = model.conditions(prompts[start : start + batch] if prompts else [None] * len(state))
        steps = denoise(model, state, grid, condition, how, generators, skip)
        for state in steps:
            done += len(state)
            yield done
        images.append(model.decode(state))
    return torch.cat(images)


def run_to_end(generator: Generator[object, None, Value], callback: Callable[[Any], object] | None = None) -> Value:
    """Run a generator to its end, showing what it yields to `callback`, and return its value."""
    while True:
        try:
            yielded = next(generator)
        except StopIteration as stop:
            return stop.value
        if callback:
            callback(yielded)

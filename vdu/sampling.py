"""Seeded, batched, interruptible sampling with DPM-Solver++ (Lu et al. 2022), with a few network evaluations per image."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import torch
from torch import Tensor

from vdu.errors import BrokenImages
from vdu.losses import noised
from vdu.models import Condition, Model
from vdu.models.schedule import make_solver
from vdu.processes import gathered, own
from vdu.threads import side_by_side, worker_count

Value = TypeVar("Value")

ALGORITHMS = {"ode": "dpmsolver++", "sde": "sde-dpmsolver++"}  # sampler -> its name in diffusers
# Most images per forward pass, and most numbers in their states: such a pass of a small model takes an eighth of a second on
# one core, and full-size models of 512×512 pixels draw four images at a time. A GPU takes twice as many.
BATCH, BATCH_NUMBERS = 64, 65_536
BLANK, ENOUGH = 2, 16  # levels of 255 by which a blank image's pixels may differ; images from which a broken model is told
CROWDING = 0.3  # how much denser timesteps lie around T / 2, in [0, 1); 0 spaces them evenly


def timestep_grid(steps: int, first: int) -> list[int]:
    """The `steps` timesteps at which a sampler evaluates the network, from `first` down, densest around `first` / 2.

    `first` is T - 1 or near it, see `Diffusion.first_timestep`. Around T / 2 an image takes its class and its shape; a coarse
    step there leaves it between two classes.
    """
    places = torch.arange(steps, dtype=torch.float64) / steps
    crowded = places + CROWDING * torch.sin(2 * math.pi * places) / (2 * math.pi)
    return (first * (1 - crowded)).round().int().tolist()


def fresh_noise(generators: list[torch.Generator], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise (n, c, h, w), one generator per image, so that image k does not depend on n."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


class Role(StrEnum):
    """What images are drawn for. No image has its noise in common with an image of another role in the same run."""

    MEASURE = "measure"  # the figures of a report
    STEER = "steer"  # replay and previews
    ESTIMATE = "estimate"  # the posterior
    JUDGE = "judge"  # the fit of a judge


# A generator of the CPU takes its seed modulo 2**32, so seeds are disjoint only if they are so modulo 2**32.
STATES, STRIDE, BLOCK = 2**32, 1_000_003, 2**15  # number of seeds, distance between the blocks of two runs, seeds in a block
OFFSETS = {Role.MEASURE: 0, Role.STEER: STATES // 2}  # of a role's seeds from the first seed of the run
FIXED = {Role.ESTIMATE: 77 * STRIDE, Role.JUDGE: STATES // 4}  # first seed of a block that all runs have in common


def image_seeds(seed: int | None, count: int, role: Role = Role.MEASURE) -> list[int]:
    """One seed per image, from 0 to 2**32 - 1; the first k are the same for any count.

    Args:
        seed: the seed of the run; None for a role whose images are the same in every run, one in `FIXED`.
        count: the number of images, at most `BLOCK`.
        role: what the images are for; in a run, the seeds of two roles are disjoint.

    Raises:
        ValueError: for more images than a block has seeds.
    """
    if count > BLOCK:
        raise ValueError(f"{count:,} images in one role: there are seeds for {BLOCK:,}")
    start = FIXED[role] if seed is None else (run_start(seed) + OFFSETS[role]) % STATES
    return [(start + index) % STATES for index in range(count)]


def run_start(seed: int) -> int:
    """The first measured seed of a run: a multiple of `STRIDE`, moved if a block of the run would meet one in `FIXED`."""
    start = seed * STRIDE
    gaps = [(fixed - start - offset + BLOCK) % STATES for fixed in FIXED.values() for offset in OFFSETS.values()]
    return start + 2 * BLOCK if min(gaps) < 2 * BLOCK else start


@dataclass(frozen=True)
class HowToSample:
    """The settings of the sampler.

    Attributes:
        steps: network evaluations per image (twice as many with guidance).
        sampler: "ode" (deterministic), or "sde", which adds fresh noise from the image's own seed at every step. This noise
            covers errors of earlier steps, but with fewer than about 15 steps some of it is left in the image.
        guidance: w >= 1 of classifier-free guidance (Ho & Salimans 2022), epsilon = e(no prompt) + w (e(prompt) - e(no
            prompt)), for models that take prompts; 1 is none and takes half the time.
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
    """Denoise states along a grid of timesteps with DPM-Solver++, yielding them after every step.

    Args:
        model: the model to sample from.
        state: x_t at t = grid[skip], (n, c, h, w).
        grid: timesteps of the network evaluations, see `timestep_grid`; yielded state k = 0, 1, … is at grid[skip + k + 1].
        condition: n rows, one per state.
        how: the sampler's settings.
        generators: n, one per state, for fresh noise.
        skip: number of steps left out at the start of the grid.
    """
    unprompted = model.conditions([None] * len(state))
    # A fresh solver per batch, since it remembers earlier outputs. It is given the network's own output, epsilon, v or x_0: at
    # alpha-bar near 0 no x_0 can be had from epsilon. Guidance is the same in all three, which are linear in one another.
    scheduler = make_solver(model.scheduler, ALGORITHMS[how.sampler], model.clips)
    scheduler.set_timesteps(timesteps=grid)
    for t in grid[skip:]:
        times = torch.full((len(state),), t, device=model.device)
        predicted = model.predict(state, times, condition)
        if model.takes_prompts and how.guidance != 1:
            bare = model.predict(state, times, unprompted)
            predicted = bare + how.guidance * (predicted - bare)
        if model.guide:
            predicted = predicted + model.output_of(model.guide(state, times), times)
        added = fresh_noise(generators, model.shape).to(model.device) if how.sampler == "sde" else None
        state = scheduler.step(predicted, t, state, variance_noise=added).prev_sample
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
    """Draw one image per seed, yielding after every step how many image-steps are done, of n * `how.steps`.

    Processes that share their work (`processes.shared`) draw some of the batches each, and each returns all images; the count
    is then of all processes, as if the others were as far as this one.

    Args:
        model: the model to sample from.
        seeds: n, one per image.
        how: the sampler's settings.
        prompts: n, one per seed, for models that take prompts; None or "" is no prompt.
        clean: states (n, c, h, w) to start from instead of pure noise; they are noised to the timestep after `skip` steps.
        skip: number of steps left out at the start, with `clean`.

    Returns:
        uint8 images (n, c, h, w) on the CPU, as the generator's return value.
    """
    mine = [*own(partition(len(seeds), model))]
    batches = [
        draw_batch(model, seeds[part], how, prompts[part] if prompts else None, None if clean is None else clean[part], skip)
        for part in mine
    ]
    done, own_images = 0, sum(part.stop - part.start for part in mine)
    with closing(side_by_side(batches, worker_count(model.device))) as stream:
        while True:
            try:
                done += next(stream)
            except StopIteration as end:
                return torch.cat(gathered(end.value))
            yield done * len(seeds) // own_images


def partition(count: int, model: Model) -> list[slice]:
    """The rows of each batch of `count` images; on a CPU an even number of batches, for threads that work side by side."""
    most, even = max(1, min(BATCH, BATCH_NUMBERS // math.prod(model.shape))), 2
    if model.device != "cpu":
        most, even = even * most, 1
    batches = min(count, even * math.ceil(count / (even * most)))
    return [slice(count * place // batches, count * (place + 1) // batches) for place in range(batches)]


@torch.no_grad()
def draw_batch(
    model: Model, seeds: list[int], how: HowToSample, prompts: Sequence[str | None] | None, clean: Tensor | None, skip: int
) -> Generator[int, None, Tensor]:
    """Draw one batch, yielding its size after every step; arguments and return value as `sample`."""
    grid, generators = timestep_grid(how.steps, model.first_timestep), [torch.Generator().manual_seed(s) for s in seeds]
    state = fresh_noise(generators, model.shape).to(model.device)
    if clean is not None:
        state = noised(clean.to(model.device), state, model.alpha_bar[grid[skip]])
    condition = model.conditions(prompts or [None] * len(state))
    steps = denoise(model, state, grid, condition, how, generators, skip)
    for state in steps:
        yield len(state)
    return model.decode(state)


def check_images(images: Tensor) -> None:
    """Refuse uint8 images (n, c, h, w) that show nothing, since a judge gives them to some class all the same.

    Raises:
        BrokenImages: if all are of a single colour each, or all are the same; fewer than `ENOUGH` may be so by chance.
    """
    if len(images) < ENOUGH:
        return
    pixels = images.flatten(2)
    if bool(((pixels.amax(2).int() - pixels.amin(2).int()) <= BLANK).all()):
        raise BrokenImages("nothing but single colours")
    if bool((images == images[0]).all()):
        raise BrokenImages("the same image from every seed")


def run_to_end(generator: Generator[object, None, Value], callback: Callable[[Any], object] | None = None) -> Value:
    """Run a generator to its end, call `callback` with all that it yields, and return its value."""
    while True:
        try:
            yielded = next(generator)
        except StopIteration as stop:
            return stop.value
        if callback:
            callback(yielded)

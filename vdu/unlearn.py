"""The loop: `unlearn(run)` is a generator of events, and the run it fills can be reported at any time.

    run = Run(Recipe(forget="3"))
    for event in unlearn(run):
        ...

Seeds that are shown and steered by never meet seeds that are measured with, so the figures come from images the run has
not looked at.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vdu import catalog, data, losses
from vdu.events import Event, Finished, Measured, Preview, StepTaken
from vdu.measure import Clock, Samples, draw
from vdu.methods import METHODS, Context
from vdu.models import DDPM, pick_device
from vdu.optimizers import make_optimizer
from vdu.posterior import POSTERIORS, Posterior
from vdu.recipe import Recipe
from vdu.sampling import Trajectory, image_seeds

GRID_FORGET, GRID_KEEP = 16, 32  # in every preview: seeds that drew the class to forget, and others
GRID_STEPS = 10  # network evaluations an image, in replay and previews
GRID_SEED = 2**31  # added to the recipe's seed for the grid, which no recipe's seed can reach
CLEARLY = 0.5  # a kept image is damaged when its class changed or the judge gives it less than this
WARM_UP, COOL_DOWN = 5, 0.1  # steps over which the rate rises, and the share of it left at the last step

STOPPED = "stopped by the user"
REACHED = "the forget rate met its target"
DAMAGED = "the kept classes began to suffer"
SPENT = "all steps were taken"
BROKEN = "the weights were no longer finite; the last good ones were kept"


@dataclass
class Run:
    """One run: its recipe, and everything it has produced so far.

    Attributes:
        model: the model being changed; a private copy.
        grid: seeds of the previews, those that drew the class to forget first.
        before, after: samples from the measured seeds.
        seconds: wall-clock time by phase.
        reason: why it ended.

    Raises:
        UserError: on construction, if the model, class, posterior or device is not to be had.
    """

    recipe: Recipe
    grid: list[int] = field(default_factory=list)
    before: Samples | None = None
    after: Samples | None = None
    previews: list[Preview] = field(default_factory=list)
    steps: list[StepTaken] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    reason: str = STOPPED

    def __post_init__(self) -> None:
        device = pick_device(self.recipe.device)
        self.model, self.entry = catalog.open_model(self.recipe.model, device)
        self.entry.index(self.recipe.forget)
        estimate, _ = POSTERIORS[self.recipe.posterior]
        self.posterior: Posterior = estimate(self.model, self.entry.folder / "posterior").to(device)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the time spent inside towards a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started


def unlearn(run: Run) -> Iterator[Event]:
    """Carry out a run: replay, measure, unlearn with previews, measure again.

    It may be closed at any yield; these come at least every second on two cores. What `run` holds then is whole, and its
    reason is "stopped by the user".
    """
    frozen = run.model.clone()
    with run.timed("replay"):
        replay = yield from draw_replay(run, frozen)
    with run.timed("sample"):
        run.before = yield from draw_measured("before", run, frozen)
    yield Measured("before")
    with run.timed("unlearn"):
        reason = yield from optimise(run, replay)
    with run.timed("sample"):
        run.after = yield from draw_measured("after", run, run.model)
    yield Measured("after")
    run.reason = reason
    yield Finished(reason)


@dataclass(frozen=True)
class Replay:
    """What the frozen model drew: the states it visited, its noise there, and the finished images.

    Attributes:
        states, noises: (steps, n, c, h, w); timesteps: (steps,).
        samples: the n images and what the judge made of them.
        grid: rows of the previews' images; the first `forgotten` of them drew the class to forget.
    """

    states: Tensor
    noises: Tensor
    timesteps: Tensor
    samples: Samples
    grid: Tensor
    forgotten: int


def draw_replay(run: Run, frozen: DDPM) -> Generator[Event, None, Replay]:
    """Draw from the frozen model, choose the grid among it, and show it as the preview of step 0."""
    recipe, entry = run.recipe, run.entry
    seeds = image_seeds(GRID_SEED + recipe.seed, recipe.replay)
    trajectories: list[Trajectory] = []
    samples = yield from draw("replay", frozen, entry, seeds, GRID_STEPS, trajectories)
    of_class = samples.classes == entry.index(recipe.forget)
    forget, keep = of_class.nonzero()[:GRID_FORGET, 0], (~of_class).nonzero()[:GRID_KEEP, 0]
    grid = torch.cat([forget, keep])
    run.grid = [seeds[row] for row in grid.tolist()]
    replay = Replay(
        states=torch.cat([torch.stack(part.states) for part in trajectories], dim=1),
        noises=torch.cat([torch.stack(part.noises) for part in trajectories], dim=1),
        timesteps=torch.tensor(trajectories[0].timesteps, device=frozen.device),
        samples=samples,
        grid=grid,
        forgotten=len(forget),
    )
    drawn = Samples(samples.images[grid], samples.probabilities[grid], samples.features[grid])
    preview = look(run, replay, drawn, step=0)
    run.previews.append(preview)
    yield preview
    return replay


def look(run: Run, replay: Replay, drawn: Samples, step: int) -> Preview:
    """Estimate forgetting and damage from what the grid's seeds draw now.

    The two groups of seeds are weighted by how often the frozen model draws each, which makes the estimate unbiased for
    the model's forget rate although half of the grid was chosen because it drew the class.
    """
    index = run.entry.index(run.recipe.forget)
    forgotten = drawn.classes == index
    base = (replay.samples.classes == index).double().mean().item()
    first, rest = forgotten[: replay.forgotten].double(), forgotten[replay.forgotten :].double()
    rate = base * (first.mean().item() if len(first) else 0.0) + (1 - base) * (rest.mean().item() if len(rest) else 0.0)
    kept = replay.grid[replay.forgotten :]
    certainty = drawn.probabilities[replay.forgotten :].gather(1, replay.samples.classes[kept].unsqueeze(1))
    damage = (certainty < CLEARLY).double().mean().item() if len(kept) else 0.0
    return Preview(step, drawn.images, forgotten, rate, damage)


def draw_measured(phase: str, run: Run, model: DDPM) -> Generator[Event, None, Samples]:
    """Draw from the seeds that are measured with."""
    recipe = run.recipe
    return (yield from draw(phase, model, run.entry, image_seeds(recipe.seed, recipe.samples), recipe.sampler_steps))


def timestep_weights(recipe: Recipe, model: DDPM) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 0 outside the recipe's window, mean 1 inside."""
    inside = torch.zeros(len(model.alpha_bar), device=model.device)
    inside[recipe.t_min : recipe.t_max + 1] = 1
    weights = inside * (losses.bound_weights(model.alpha_bar, model.betas) if recipe.weighting == "bound" else 1)
    return weights / weights[inside.bool()].mean()


def optimise(run: Run, replay: Replay) -> Generator[Event, None, str]:
    """Take steps until a stop rule speaks; returns its reason."""
    recipe, model = run.recipe, run.model
    generator = torch.Generator().manual_seed(recipe.seed)
    images = data.choose(run.entry.forget_images(recipe.forget), recipe.forget_images, recipe.seed)
    images = images.to(model.device).float() / 127.5 - 1
    named = dict(model.unet.named_parameters())
    optimizer = make_optimizer(recipe.optimizer, named, run.posterior, recipe.step_size)
    weights = timestep_weights(recipe, model)
    clock, met = Clock("unlearn", recipe.steps), 0
    for step in range(1, recipe.steps + 1):
        optimizer.param_groups[0]["lr"] = recipe.step_size * schedule(step, recipe.steps)
        taken = take_step(run, replay, images, weights, optimizer, generator, step)
        run.steps.append(taken)
        yield taken
        yield clock.progress(step)
        if step % recipe.preview_every == 0 or step == recipe.steps:
            seeds = run.grid
            drawn = yield from draw("preview", model, run.entry, seeds, GRID_STEPS)
            preview = look(run, replay, drawn, step)
            run.previews.append(preview)
            yield preview
            met = met + 1 if preview.forget_rate <= recipe.target else 0
            if met >= recipe.patience:
                return REACHED
            if preview.damage > recipe.max_damage:
                return DAMAGED
    return SPENT


def schedule(step: int, steps: int) -> float:
    """Share of the step size used at `step` of `steps`, counted from 1: a short rise, then a linear fall."""
    return min(1.0, step / WARM_UP) * (1 - (1 - COOL_DOWN) * (step - 1) / steps)


def take_step(
    run: Run,
    replay: Replay,
    images: Tensor,
    weights: Tensor,
    optimizer: torch.optim.Optimizer,
    random: torch.Generator,
    step: int,
) -> StepTaken:
    """One step of -(1 - gamma) plasticity + gamma stability, on one batch of forget images and one of replayed states."""
    recipe, model, method = run.recipe, run.model, METHODS[run.recipe.method]
    size, device = recipe.batch_size, model.device
    rows = torch.randint(len(images), (size,), generator=random).to(device)
    t = torch.randint(recipe.t_min, recipe.t_max + 1, (size,), generator=random).to(device)
    noise = torch.randn((size, *model.shape), generator=random).to(device)
    alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
    noisy = alpha_bar.sqrt() * images[rows] + (1 - alpha_bar).sqrt() * noise

    at = torch.randint(len(replay.timesteps), (size if method.replays else 0,), generator=random).to(device)
    which = torch.randint(replay.states.shape[1], at.shape, generator=random).to(device)
    predicted = model.predict_noise(torch.cat([noisy, replay.states[at, which]]), torch.cat([t, replay.timesteps[at]]))
    plasticity = losses.plasticity_inducer(predicted[:size], noise, weights[t])
    stability = method.stability(Context(model, run.posterior, predicted[size:], replay.noises[at, which]))
    loss = recipe.gamma * stability - (1 - recipe.gamma) * plasticity
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return StepTaken(step, plasticity.item(), stability.item(), loss.item())

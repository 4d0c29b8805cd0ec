"""The loop: `unlearn(run)` is a generator of events, and the run it fills can be reported at any time.

    run = Run(Recipe(forget="3"))
    for event in unlearn(run):
        ...

Seeds that are shown and steered by never meet seeds that are measured with, so the figures come from images the run has
not looked at.
"""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vdu import catalog, data, losses
from vdu.events import Event, Finished, Measured, Preview, StepTaken
from vdu.measure import Clock, Samples, draw, draw_pristine
from vdu.methods import METHODS, Context, Method, Noised
from vdu.models import DDPM, pick_device
from vdu.optimizers import make_optimizer
from vdu.posterior import POSTERIORS, Posterior
from vdu.recipe import Recipe
from vdu.sampling import image_seeds

GRID_FORGET, GRID_KEEP = 24, 24  # in every preview: seeds that drew the class to forget, and others
GRID_STEPS = 10  # network evaluations an image, in replay and previews
GRID_SEED = 2**31  # added to the recipe's seed for the grid, which no recipe's seed can reach
CLEARLY = 0.5  # a kept image is damaged when its class changed or the judge gives it less than this
WARM_UP, SETTLING = 5, 0.35  # steps over which the step size rises; share of all steps over which it falls
AVERAGING = 0.97  # of the running average of the weights: it looks back about thirty steps
ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep

STOPPED = "stopped by the user"
REACHED = "the forget rate met its target"
DAMAGED = "the kept classes began to suffer"
SPENT = "all steps were taken"
BROKEN = "the loss was no longer finite; a smaller step size would help"


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


def unlearn(run: Run) -> Generator[Event, None, None]:
    """Carry out a run: replay, measure, unlearn with previews, measure again.

    It may be closed at any yield; these come at least every second on two cores. What `run` holds then is whole, and its
    reason is "stopped by the user".
    """
    frozen, seeds = run.model.clone(), image_seeds(run.recipe.seed, run.recipe.samples)
    how = run.recipe.sampler_steps, run.recipe.sampler
    with run.timed("replay"):
        replay = yield from draw_replay(run, frozen)
    with run.timed("sample"):
        run.before = yield from draw_pristine("before", frozen, run.entry, seeds, *how)
    yield Measured("before")
    with run.timed("unlearn"):
        reason = yield from optimise(run, frozen, replay)
    with run.timed("sample"):
        run.after = yield from draw("after", run.model, run.entry, seeds, *how)
    yield Measured("after")
    run.reason = reason
    yield Finished(reason)


@dataclass(frozen=True)
class Replay:
    """What the frozen model draws, and which of it the previews look at again.

    Attributes:
        samples: n images and what the judge made of them.
        grid: rows of the previews' images; the first `forgotten` of them drew the class to forget.
    """

    samples: Samples
    grid: Tensor
    forgotten: int


def draw_replay(run: Run, frozen: DDPM) -> Generator[Event, None, Replay]:
    """Draw from the frozen model, choose the grid among it, and show it as the preview of step 0."""
    recipe, entry = run.recipe, run.entry
    seeds = image_seeds(GRID_SEED + recipe.seed, recipe.replay)
    samples = yield from draw_pristine("replay", frozen, entry, seeds, GRID_STEPS)
    of_class = samples.classes == entry.index(recipe.forget)
    forget, keep = of_class.nonzero()[:GRID_FORGET, 0], (~of_class).nonzero()[:GRID_KEEP, 0]
    grid = torch.cat([forget, keep])
    run.grid = [seeds[row] for row in grid.tolist()]
    replay = Replay(samples, grid, len(forget))
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


def timestep_weights(recipe: Recipe, model: DDPM) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 0 outside the recipe's window, mean 1 inside."""
    inside = torch.zeros(len(model.alpha_bar), device=model.device)
    inside[recipe.t_min : recipe.t_max + 1] = 1
    weights = inside * (losses.bound_weights(model.alpha_bar, model.betas) if recipe.weighting == "bound" else 1)
    return weights / weights[inside.bool()].mean()


def optimise(run: Run, frozen: DDPM, replay: Replay) -> Generator[Event, None, str]:
    """Take steps until a stop rule speaks; returns its reason.

    Once the previews have met the target, or the steps are nearly spent, the run settles: the step size falls to nothing
    over the last steps, in which stability heals what it can. `run.model` is a running average of the weights that take the
    steps: single steps are noisy, and the noise is what damages the kept classes first.
    """
    recipe = run.recipe
    learner = run.model.clone()
    method, contexts = METHODS[recipe.method], batches(run, learner, frozen, replay)
    named = dict(learner.unet.named_parameters())
    optimizer = make_optimizer(recipe.optimizer, named, run.posterior, recipe.step_size)
    average = list(run.model.unet.parameters())
    settling = max(1, round(SETTLING * recipe.steps))
    clock, met, last, step = Clock("unlearn", recipe.steps), 0, recipe.steps, 0
    while step < last:
        step += 1
        optimizer.param_groups[0]["lr"] = recipe.step_size * min(1.0, step / WARM_UP, (last - step + 1) / settling)
        taken = take_step(method, next(contexts), optimizer, step)
        run.steps.append(taken)
        if not math.isfinite(taken.loss):
            return BROKEN  # before the broken weights reach the average, which is what is kept
        with torch.no_grad():
            torch._foreach_lerp_(average, list(named.values()), 1 - AVERAGING)
        yield taken
        yield clock.progress(step)
        if step % recipe.preview_every and step < last:
            continue
        drawn = yield from draw("preview", run.model, run.entry, run.grid, GRID_STEPS)
        preview = look(run, replay, drawn, step)
        run.previews.append(preview)
        yield preview
        met = met + 1 if preview.forget_rate <= recipe.target else 0
        if met == recipe.patience:
            last = clock.total = min(last, step + settling)
        if preview.damage > recipe.max_damage:
            return DAMAGED
    return REACHED if met >= recipe.patience else SPENT


def batches(run: Run, learner: DDPM, frozen: DDPM, replay: Replay) -> Iterator[Context]:
    """What each step looks at: forget images noised to the window, and replayed images of the other classes likewise.

    A share `ANYWHERE` of the replayed images is noised to any timestep, so that nothing drifts outside the window.
    """
    recipe, model = run.recipe, learner
    random, size = torch.Generator().manual_seed(recipe.seed), (recipe.batch_size,)
    real = data.choose(run.entry.forget_images(recipe.forget), recipe.forget_images, recipe.seed)
    of_class = replay.samples.classes == run.entry.index(recipe.forget)
    own = replay.samples.images[of_class] if METHODS[recipe.method].own_images else real[:0]
    forget_set, kept_set = (
        (images.float() / 127.5 - 1).to(model.device) for images in (torch.cat([real, own]), replay.samples.images[~of_class])
    )
    weights, window = timestep_weights(recipe, model), (recipe.t_min, recipe.t_max)

    def noised(images: Tensor, t: Tensor) -> Noised:
        rows = torch.randint(len(images), size, generator=random).to(model.device)
        noise = torch.randn((*size, *model.shape), generator=random).to(model.device)
        t = t.to(model.device)
        alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
        return Noised(alpha_bar.sqrt() * images[rows] + (1 - alpha_bar).sqrt() * noise, t, noise)

    while True:
        # Stratified over the window: each batch looks at all of it, which takes variance out of every step.
        places = (torch.arange(*size) + torch.rand((2, *size), generator=random)) / size[0]
        inside = recipe.t_min + (places * (recipe.t_max + 1 - recipe.t_min)).long()
        anywhere = torch.randint(len(weights), size, generator=random)
        pick = torch.rand(size, generator=random) < ANYWHERE
        to_forget = noised(forget_set, inside[0])
        _, to_forget.noise = losses.noised_set(to_forget.states, model.alpha_bar[to_forget.t], forget_set)
        to_keep = noised(kept_set, torch.where(pick, anywhere, inside[1]))
        weight = weights[to_forget.t]
        yield Context(
            model, frozen, run.posterior, to_forget, weight, to_keep, forget_set, kept_set, recipe.gamma, recipe.reach, window
        )


def take_step(method: Method, context: Context, optimizer: torch.optim.Optimizer, step: int) -> StepTaken:
    """One step down the method's loss; both terms are those before the step."""
    plasticity, stability, loss = method.terms(context)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return StepTaken(step, plasticity.item(), stability.item(), loss.item())

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

from vdu import catalog
from vdu.batches import batches
from vdu.entries import Ask, Entry
from vdu.events import Event, Finished, Measured, Preview, StepTaken
from vdu.measure import Clock, Samples, draw, draw_pristine
from vdu.methods import METHODS, Context, Method
from vdu.models import Model, pick_device
from vdu.optimizers import make_optimizer
from vdu.posterior import POSTERIORS, Estimating, Posterior
from vdu.recipe import Recipe
from vdu.replay import GRID_SEED, Replay, draw_replay
from vdu.sampling import image_seeds

WARM_UP, SETTLING = 5, 0.35  # steps over which the step size rises; share of all steps over which it falls
AVERAGING = 0.97  # of the running average of the weights: it looks back about thirty steps
# Of the change that the steps made; 1 is what they made. The key says whether the model takes words: guidance makes the way
# from enough to too much a short one.
SCALES = {False: (0.3, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6), True: (0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.45)}
SMALL_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)  # where the kept images stand none of those, or the least is too much
# Where the largest is not enough, and the way is a line that was never walked: then its length is no more than a guess.
LARGE_SCALES = (2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)
# At most so many seeds of the class, and others, are drawn from again at every scale; guidance doubles what an image costs.
SCALE_ROWS = {False: (128, 64), True: (96, 32)}
MARGIN = {
    False: 1.0,
    True: 1.1,
}  # times the scale found: the smallest that meets the target on some seeds does so partly by luck
TRIED = 8  # images of a prompt that a visitor tries
RECOVERABLE = 2  # times the damage allowed: as much may be on the way, since a smaller scale takes it back

STOPPED = "stopped by the user"
REACHED = "the forget rate met its target"
DAMAGED = "the kept classes began to suffer"
SPENT = "all steps were taken"
BROKEN = "the loss was no longer finite; a smaller step size would help"


@dataclass
class Run:
    """One run: its recipe, and everything it has produced so far.

    Attributes:
        start: folder that an earlier run left of the recipe's model, to go on from there; "" for the model as it came.
        model: the model being changed; a private copy.
        replay: what the frozen model drew.
        before, after: samples from the measured seeds.
        seconds: wall-clock time by phase.
        scale: the unlearned weights are mu* + scale * (what the steps changed), see `rescale`.
        reason: why it ended.
        posterior, estimating: mu* and sigma*^2, and how they come about, where the recipe needs them.

    Raises:
        UserError: on construction, if the model, class, parameters, posterior or device are not to be had.
    """

    recipe: Recipe
    start: str = ""
    replay: Replay | None = None
    before: Samples | None = None
    after: Samples | None = None
    previews: list[Preview] = field(default_factory=list)
    steps: list[StepTaken] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    reason: str = STOPPED

    def __post_init__(self) -> None:
        self.model, self.entry = self.untouched()
        self.entry.plan(self.recipe.forget, 1)  # refuses what cannot be forgotten, or kept
        self.model.train_only(self.recipe.parameters)
        self.posterior: Posterior | None = None
        self.estimating: Estimating | None = None
        if METHODS[self.recipe.method].needs_posterior or self.recipe.optimizer in ("natural", "one-step"):
            estimate, _ = POSTERIORS[self.recipe.posterior]
            self.estimating = estimate(self.model, self.entry.prompts)

    def untouched(self) -> tuple[Model, Entry]:
        """The model as it was before the run, and its entry."""
        return catalog.open_model(self.start or self.recipe.model, pick_device(self.recipe.device), self.recipe.words)

    @property
    def target(self) -> float:
        """The forget rate to arrive at, as the judge would count it."""
        return self.entry.accuracy.counted(self.recipe.target) if self.entry.accuracy else self.recipe.target

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
    frozen, seeds, how = run.model.clone(), image_seeds(run.recipe.seed, run.recipe.samples), run.recipe.how
    asks = run.entry.plan(run.recipe.forget, run.recipe.samples, run.entry.measured(run.recipe.forget))
    with run.timed("replay"):
        yield from run.entry.ready(frozen, how)
    if run.entry.judges and run.recipe.forget_source == "real":  # a judge or pictures that cannot be had are refused at once
        run.entry.forget_set(run.recipe.forget)
    with run.timed("replay"):
        run.replay = yield from draw_replay(run.recipe, run.entry, frozen)
        run.previews.append(run.replay.look(run.replay.of(run.replay.grid), step=0))
    yield run.previews[-1]
    with run.timed("sample"):
        run.before = yield from draw_pristine("before", frozen, run.entry, seeds, how, asks)
    yield Measured("before")
    if run.estimating:
        with run.timed("posterior"):
            run.posterior = (yield from run.estimating).to(run.model.device)
    with run.timed("unlearn"):
        reason = yield from (one_step if run.recipe.optimizer == "one-step" else optimise)(run, frozen)
        reason = yield from rescale(run, frozen, reason)
    with run.timed("sample"):
        run.after = yield from draw("after", run.model, run.entry, seeds, how, asks)
    yield Measured("after")
    run.reason = reason
    yield Finished(reason)


def optimise(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Take steps until a stop rule speaks, or all are taken; returns the reason.

    Once the previews have met the target, or the steps are nearly spent, the run settles: the step size falls to nothing
    over the last steps, in which stability heals what it can. `run.model` is a running average of the weights that take the
    steps: single steps are noisy, and the noise is what damages the kept classes first.
    """
    recipe = run.recipe
    learner = run.model.clone()
    method, contexts = METHODS[recipe.method], batches(recipe, run.entry, run.replay, learner, frozen, run.posterior)
    named = learner.trained
    optimizer = make_optimizer(recipe.optimizer, named, run.posterior, recipe.step_size)
    average = list(run.model.trained.values())
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
        if step % recipe.preview_every or step == last:
            continue
        drawn = yield from draw_grid(run)
        preview = show(run, drawn, step)
        yield preview
        met = met + 1 if run.replay.forget_rate_to_steer_by(run.replay.grid, drawn) <= run.target else 0
        if met == recipe.patience:
            last = clock.total = min(last, step + settling)
        if preview.damage > RECOVERABLE * recipe.max_damage:
            return DAMAGED
    return SPENT


def one_step(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Minimise the loss linearised at mu*: no path, one averaged gradient; returns the reason.

    With the plasticity inducer's gradient g at mu*, setting the gradient of the linearised loss to zero gives
    theta = mu* + P (1 - gamma) / gamma * sigma*^2 * g, with P parameters because the regularizer is a mean over them. For any
    method this is mu* - P / gamma * sigma*^2 * (gradient of its loss at mu*): one step of natural gradient.
    """
    recipe = run.recipe
    still, method, clock = run.model.clone(), METHODS[recipe.method], Clock("unlearn", recipe.steps)
    contexts = batches(recipe, run.entry, run.replay, still, frozen, run.posterior)
    parameters = list(still.trained.values())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for step in range(1, recipe.steps + 1):
        plasticity, stability, loss = method.terms(next(contexts))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        torch._foreach_add_(total, gradients)
        taken = StepTaken(step, plasticity.item(), stability.item(), loss.item())
        run.steps.append(taken)
        if not math.isfinite(taken.loss):
            return BROKEN
        yield taken
        yield clock.progress(step)
    count = sum(parameter.numel() for parameter in parameters)
    with torch.no_grad():
        for (name, weight), gradient in zip(run.model.trained.items(), total, strict=True):
            weight -= count / recipe.gamma / recipe.steps * run.posterior.variance[name] * gradient
    yield show(run, (yield from draw_grid(run)), recipe.steps)
    return SPENT


def rescale(run: Run, frozen: Model, reason: str) -> Generator[Event, None, str]:
    """Find how far to go along the way that the steps have found, and show what is drawn there; returns the reason to report.

    theta(scale) = mu* + scale * (theta - mu*). Along this line forgetting and damage grow together. The smallest scale is
    taken whose forget rate meets the target; where that would damage more of the kept images than the recipe allows, the
    largest that does not. Where they stand none, the model stays as it was. A scale that meets the target gets a
    `MARGIN`, where the damage allows it. A solution in one step is looked for further along the line both ways, since no
    step was taken on it that would say how long it should be.
    """
    tried = run.replay.rows(*SCALE_ROWS[run.entry.takes_words])
    scales, guessed = SCALES[run.entry.takes_words], run.recipe.optimizer == "one-step"
    found = yield from furthest(run, frozen, tried, scales)
    if not found or (guessed and found[:2] == (scales[0], True)):
        smaller = yield from furthest(run, frozen, tried, SMALL_SCALES)
        if smaller and (smaller[1] or not found):
            found = smaller
    elif guessed and found[:2] == (scales[-1], False):
        found = (yield from furthest(run, frozen, tried, LARGE_SCALES)) or found
    run.scale, met, drawn = found or (0.0, False, run.replay.of(tried))
    grid = drawn.at(torch.isin(tried, run.replay.grid))  # the grid's images are among those that were tried
    margin = MARGIN[run.entry.takes_words] if met else 1.0
    if margin > 1:
        wide, wider = run.model.clone(), round(run.scale * margin, 3)
        place(wide, frozen, run.model, wider)
        more = yield from run.replay.draw_again("preview", wide, run.replay.grid)
        if run.replay.look(more, len(run.steps)).damage <= run.recipe.max_damage:
            run.scale, grid = wider, more
    place(run.model, frozen, run.model, run.scale)
    yield show(run, grid, len(run.steps))
    return REACHED if reason == SPENT and met else reason


def furthest(
    run: Run, frozen: Model, tried: Tensor, scales: tuple[float, ...]
) -> Generator[Event, None, tuple[float, bool, Samples] | None]:
    """Bisect for the scale that `rescale` wants: the scale, whether it meets the target, and what it draws; None for no scale.

    Both estimates come from some dozens of seeds and need not grow at every step of the way, so bisection may miss a smaller
    scale that would have done. What it returns was drawn and judged itself, and holds what `rescale` promises.
    """
    recipe, replay, trial = run.recipe, run.replay, run.model.clone()
    found, low, high = None, 0, len(scales) - 1
    while low <= high:
        middle = (low + high) // 2
        place(trial, frozen, run.model, scales[middle])
        drawn = yield from replay.draw_again("scale", trial, tried)
        _, _, damage = replay.compare(tried, drawn)
        met, intact = replay.forget_rate_to_steer_by(tried, drawn) <= run.target, damage <= recipe.max_damage
        if met or not intact:
            high = middle - 1
        else:
            low = middle + 1
        if intact and (met or not found or not found[1]):
            found = scales[middle], met, drawn
    return found


def draw_grid(run: Run) -> Generator[Event, None, Samples]:
    """What the model draws from the grid's seeds by now."""
    return (yield from run.replay.draw_again("preview", run.model, run.replay.grid))


def show(run: Run, drawn: Samples, step: int) -> Preview:
    """Keep what was drawn from the grid's seeds as the preview of a step, in place of an earlier one of that step."""
    preview = run.replay.look(drawn, step)
    if run.previews[-1].step == step:
        run.previews.pop()
    run.previews.append(preview)
    return preview


@torch.no_grad()
def place(model: Model, start: Model, end: Model, scale: float) -> None:
    """Set a model's weights to start + scale * (end - start); it may be one of the two itself."""
    for weight, first, last in zip(*(part.unet.parameters() for part in (model, start, end)), strict=True):
        if weight.requires_grad:  # the others are shared, also with models of other runs, and never changed
            weight.copy_(torch.lerp(first, last, scale))


def further(run: Run, factor: float) -> Generator[Event, None, Preview]:
    """What a finished run's model would draw had it gone `factor` times as far from the frozen one; the run stays as it is."""
    model, _ = run.untouched()
    model.train_only(run.recipe.parameters)
    place(model, model, run.model, factor)
    drawn = yield from run.replay.draw_again("preview", model, run.replay.grid)
    return run.replay.look(drawn, len(run.steps))


def tried(run: Run, prompt: str) -> Generator[Event, None, tuple[Samples, Samples]]:
    """What the untouched and the finished run's model draw for any prompt, from the same `TRIED` seeds."""
    pristine, _ = run.untouched()
    seeds, asks = image_seeds(GRID_SEED + run.recipe.seed, TRIED), [Ask(prompt=prompt)] * TRIED
    before = yield from draw_pristine("preview", pristine, run.entry, seeds, run.recipe.how, asks)
    return before, (yield from draw("preview", run.model, run.entry, seeds, run.recipe.how, asks))


def take_step(method: Method, context: Context, optimizer: torch.optim.Optimizer, step: int) -> StepTaken:
    """One step down the method's loss; both terms are those before the step."""
    plasticity, stability, loss = method.terms(context)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return StepTaken(step, plasticity.item(), stability.item(), loss.item())

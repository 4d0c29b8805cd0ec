"""How far to go along the way that the steps have found: theta(scale) = mu* + scale * (theta - mu*)."""

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from vdu.events import Event
from vdu.models import Model
from vdu.run import REACHED, SPENT, Run
from vdu.samples import Samples


class Search(NamedTuple):
    """Where to look for a scale, by whether the model takes prompts: guidance makes the way from enough to too much short.

    Attributes:
        scales: of the change that the steps made; 1 is what they made.
        rows: at most so many seeds of the class, and others, are drawn from again at every scale.
        margin: times the scale found: the smallest that meets the target on some seeds does so partly by luck.
    """

    scales: tuple[float, ...]
    rows: tuple[int, int]
    margin: float


UNPROMPTED_SEARCH = Search((0.3, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6), (128, 64), 1.0)
PROMPTED_SEARCH = Search((0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.45), (96, 32), 1.1)  # guidance doubles what an image costs
SMALL_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)  # tried when even the smallest scale damages too many kept images
# Tried when the largest is not enough and no step was taken on the way, so that its length is no more than a guess.
LARGE_SCALES = (2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)


class Found(NamedTuple):
    """A scale, whether it meets the target, and what the model draws there."""

    scale: float
    met: bool
    drawn: Samples


def search_of(model: Model) -> Search:
    """Where to look for a model's scale."""
    return PROMPTED_SEARCH if model.takes_prompts else UNPROMPTED_SEARCH


def rescale(run: Run, frozen: Model, reason: str) -> Generator[Event, None, str]:
    """Find the scale, and show what is drawn there; returns the reason to report.

    Along the line forgetting and damage grow together. The smallest scale is taken whose forget rate meets the target; where
    that would damage more of the kept images than the recipe allows, the largest that does not. Where every scale damages too
    many, the model stays as it was. A scale that meets the target gets a margin, where the damage allows it. A solution in
    one step is looked for further along the line both ways, since no step was taken on it that would say how long it should
    be.
    """
    search, guessed = search_of(run.model), run.recipe.optimizer == "one-step"
    tried = run.replay.rows(*search.rows)
    found = yield from furthest(run, frozen, tried, search.scales)
    smallest_is_enough = found is not None and found.met and found.scale == search.scales[0]
    largest_is_too_little = found is not None and not found.met and found.scale == search.scales[-1]
    if found is None or (guessed and smallest_is_enough):
        smaller = yield from furthest(run, frozen, tried, SMALL_SCALES)
        if smaller and (smaller.met or not found):
            found = smaller
    elif guessed and largest_is_too_little:
        found = (yield from furthest(run, frozen, tried, LARGE_SCALES)) or found
    found = found or Found(0.0, False, run.replay.of(tried))
    run.scale, grid = found.scale, found.drawn.at(torch.isin(tried, run.replay.grid))  # the grid is among what was tried
    margin = search.margin if found.met else 1.0
    if margin > 1:
        wide, wider = run.model.clone(), round(run.scale * margin, 3)
        set_weights_between(wide, frozen, run.model, wider)
        more = yield from run.replay.draw_again("preview", wide, run.replay.grid)
        if run.replay.preview(more, len(run.steps)).damage <= run.recipe.max_damage:
            run.scale, grid = wider, more
    set_weights_between(run.model, frozen, run.model, run.scale)
    yield run.keep_preview(grid, len(run.steps))
    return REACHED if reason == SPENT and found.met else reason


def furthest(run: Run, frozen: Model, tried: Tensor, scales: tuple[float, ...]) -> Generator[Event, None, Found | None]:
    """Bisect for the scale that `rescale` wants; None where every scale damages too much.

    Both estimates come from some dozens of seeds and need not grow at every step of the way, so bisection may miss a smaller
    scale that would have done. What it returns was drawn and judged itself, and holds what `rescale` promises.
    """
    recipe, replay, trial = run.recipe, run.replay, run.model.clone()
    found, low, high = None, 0, len(scales) - 1
    while low <= high:
        middle = (low + high) // 2
        set_weights_between(trial, frozen, run.model, scales[middle])
        drawn = yield from replay.draw_again("scale", trial, tried)
        _, _, damage = replay.compare(tried, drawn)
        met, intact = replay.forget_rate_to_steer_by(tried, drawn) <= run.target, damage <= recipe.max_damage
        if met or not intact:
            high = middle - 1
        else:
            low = middle + 1
        if intact and (met or not found or not found.met):
            found = Found(scales[middle], met, drawn)
    return found


@torch.no_grad()
def set_weights_between(model: Model, start: Model, end: Model, scale: float) -> None:
    """Set a model's weights to start + scale * (end - start); it may be one of the two itself."""
    for weight, first, last in zip(*(part.unet.parameters() for part in (model, start, end)), strict=True):
        if weight.requires_grad:  # the others are shared, also with models of other runs, and never changed
            weight.copy_(torch.lerp(first, last, scale))

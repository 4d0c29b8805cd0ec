"""How far to go in the direction that the steps have found: theta(scale) = mu* + scale * (theta - mu*)."""

from collections.abc import Generator
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from vdu.errors import BrokenImages
from vdu.events import Event
from vdu.models import Model
from vdu.optimizers import CLOSED_FORM, GUESSED
from vdu.run import REACHED, SPENT, Run
from vdu.samples import Samples


class Search(NamedTuple):
    """Where to look for a scale. With prompts, guidance leaves little room between too small and too large a scale.

    Attributes:
        scales: candidates in ascending order; 1 is the change that the steps made.
        rows: at most this many seeds of the class, and of others, are drawn again at every scale.
        margin: factor on the scale found, since the smallest scale that meets the target on some seeds does so partly by luck.
        smaller: scales tried when even the first of `scales` damages too many kept images.
    """

    scales: tuple[float, ...]
    rows: tuple[int, int]
    margin: float
    smaller: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)


UNPROMPTED_SEARCH = Search((0.3, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6), (128, 64), 1.0)
PROMPTED_SEARCH = Search((0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.45), (96, 32), 1.1)  # guidance doubles the cost of an image
# An exact solution has the right length; half-way between two meanings of a word, a picture shows neither clearly.
CLOSED_FORM_SEARCH = Search((1.0, 1.25, 1.6), (96, 32), 1.0, (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9))
# Tried for a linearised solution whose largest scale above is not enough: the length of such a solution is only a guess.
LARGE_SCALES = (2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)


class Found(NamedTuple):
    """A scale, whether it meets the target, and the samples of the model there."""

    scale: float
    met: bool
    drawn: Samples


def search_of(model: Model, optimizer: str) -> Search:
    """The search that fits a model and an optimizer."""
    if optimizer == CLOSED_FORM:
        return CLOSED_FORM_SEARCH
    return PROMPTED_SEARCH if model.takes_prompts else UNPROMPTED_SEARCH


def rescale(run: Run, frozen: Model, reason: str) -> Generator[Event, None, str]:
    """Find the scale, set the model's weights to it and yield its preview; returns the reason to report.

    Along the line, forgetting and damage grow together. The result is the smallest scale whose forget rate meets the target;
    if that scale damages more kept images than the recipe allows, it is the largest scale that does not. If every scale
    damages too many, the model stays as it was. A scale that meets the target gets a margin if the damage allows it. For a
    linearised solution or a guidance, smaller and larger scales are tried too, since its length is only a guess.
    """
    search, guessed = search_of(run.model, run.recipe.optimizer), run.recipe.optimizer in GUESSED
    tried = run.replay.rows(*search.rows)
    found = yield from bisect_scale(run, frozen, tried, search.scales)
    smallest_is_enough = found is not None and found.met and found.scale == search.scales[0]
    largest_is_too_little = found is not None and not found.met and found.scale == search.scales[-1]
    if found is None or (guessed and smallest_is_enough):
        smaller = yield from bisect_scale(run, frozen, tried, search.smaller)
        if smaller and (smaller.met or not found):
            found = smaller
    elif guessed and largest_is_too_little:
        found = (yield from bisect_scale(run, frozen, tried, LARGE_SCALES)) or found
    found = found or Found(0.0, False, run.replay.samples.at(tried))
    run.scale, grid = found.scale, found.drawn.at(torch.isin(tried, run.replay.grid))  # the grid is part of the tried rows
    margin = search.margin if found.met else 1.0
    if margin > 1:
        wide, wider = run.model.clone(), round(run.scale * margin, 3)
        set_weights_between(wide, frozen, run.model, wider)
        with suppress(BrokenImages):
            more = yield from run.replay.draw_again("preview", wide, run.replay.grid)
            if run.replay.preview(more, len(run.steps)).damage <= run.recipe.max_damage:
                run.scale, grid = wider, more
    set_weights_between(run.model, frozen, run.model, run.scale)
    yield run.keep_preview(grid, len(run.steps))
    return REACHED if reason == SPENT and found.met else reason


def bisect_scale(run: Run, frozen: Model, tried: Tensor, scales: tuple[float, ...]) -> Generator[Event, None, Found | None]:
    """Bisect for the scale that `rescale` describes; None if every scale damages too much.

    Both estimates come from some dozens of seeds and need not grow monotonically, so bisection may miss a smaller scale that
    would do. The scale that it returns was itself drawn and judged, and keeps both of the recipe's limits if any does.
    """
    recipe, replay, trial = run.recipe, run.replay, run.model.clone()
    found, low, high = None, 0, len(scales) - 1
    while low <= high:
        middle = (low + high) // 2
        set_weights_between(trial, frozen, run.model, scales[middle])
        try:
            drawn = yield from replay.draw_again("scale", trial, tried)
        except BrokenImages:  # more than any damage that a recipe allows
            high = middle - 1
            continue
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
    """Set a model's weights to start + scale * (end - start), and its guidance to `scale` times that of `end`.

    The model may be one of the two itself.
    """
    model.guide = end.guide and end.guide.times(scale)
    for weight, first, last in zip(*(part.unet.parameters() for part in (model, start, end)), strict=True):
        if weight.requires_grad:  # fixed weights are shared, even with models of other runs, and must not change
            weight.copy_(torch.lerp(first, last, scale))

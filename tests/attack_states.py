"""Models to attack: the untouched one, and one whose network is zero, in samples of few steps."""

from functools import lru_cache

import torch

from vdu.attacks import ORIGINAL, UNLEARNED, Attacked
from vdu.models import Model
from vdu.recipe import Recipe
from vdu.task import Task, open_task

IMAGES = 8


@lru_cache
def task(model="mnist-ddpm", forget="3", sampler_steps=4) -> Task:
    return open_task(Recipe(model=model, forget=forget, sampler_steps=sampler_steps))


def zero(model: Model) -> Model:
    """A model that predicts no noise at all."""
    copy = model.clone()
    copy.train_only("all")
    with torch.no_grad():
        for value in copy.trained.values():
            value.zero_()
    return copy


def attacked(unlearned=None, images=IMAGES, **named) -> Attacked:
    opened = task(**named)
    return Attacked(opened, {ORIGINAL: opened.model, UNLEARNED: unlearned or opened.model}, images=images)


def carry_out(attack, given) -> tuple:
    """The result of an attack, and its last progress."""
    events, last = attack.carry_out(given), None
    while True:
        try:
            last = next(events)
        except StopIteration as end:
            return end.value, last


def values(result, model, series="") -> list[float]:
    """What a model came out at, place by place."""
    return [row.value for row in result.rows if (row.model, row.series) == (model, series)]

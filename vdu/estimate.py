"""How long a run takes on this machine: from the shipped examples at first, then from the runs that it has done."""

import json
import math
import threading
from functools import lru_cache
from statistics import median

from vdu.catalog import CATALOG
from vdu.models import PHOTOGRAPHS
from vdu.optimizers import GUIDANCE
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of

GRID, LOOKS = 48, 8  # images of a preview; drawings of as many images in the search for the scale
PER_STEP = 8  # network evaluations that a step costs per image of its batch, its gradients included
SHIFTED = 5  # evaluations that one of a guided photograph costs, with the gradient of its classifier
FIXED = 2.0  # seconds to open the model, to measure and to write the files
NEWEST = 0.4  # weight of the last run in what is known of runs like it


def evaluations(recipe: Recipe) -> float:
    """Evaluations of the network by a whole run of a recipe without open fields, counted in images."""
    previews = recipe.steps / recipe.preview_every + LOOKS
    shifted = SHIFTED if recipe.optimizer == GUIDANCE and kind_of(recipe.model) == PHOTOGRAPHS else 1
    drawn = recipe.replay + recipe.samples + shifted * (recipe.samples + GRID * previews)
    guided = 2 if recipe.guidance and recipe.guidance > 1 else 1
    return guided * drawn * recipe.sampler_steps + PER_STEP * recipe.steps * recipe.batch_size


@lru_cache
def seconds_per_evaluation(model: str) -> float | None:
    """By the example that ships with a model, on two cores; None if there is none."""
    entry = CATALOG.get(model)
    path = entry.folder / "example" / "report.json" if entry else None
    if path is None or not path.is_file():
        return None
    report = json.loads(path.read_text())
    recipe = resolve(Recipe.from_dict(report["recipe"]), kind_of(model))
    return max(0.0, report["seconds"]["total"] - FIXED) / evaluations(recipe)


class Pace:
    """What a server has learned of its speed: how many times longer than estimated its runs took."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.factors: dict[tuple, float] = {}

    def keys(self, recipe: Recipe) -> list[tuple]:
        """The run by its kind, from the most to the least similar runs."""
        size = round(math.log2(evaluations(recipe)))
        return [(recipe.model, recipe.method, size), (recipe.model, recipe.method), (recipe.model,)]

    def seconds(self, recipe: Recipe) -> float | None:
        """How long a run of a recipe takes in all; None if nothing is known of its model's speed."""
        recipe = resolve(recipe, kind_of(recipe.model))
        each = seconds_per_evaluation(recipe.model)
        if each is None:
            return None
        with self.lock:
            known = [self.factors[key] for key in self.keys(recipe) if key in self.factors]
            factor = known[0] if known else median(self.factors.values()) if self.factors else 1.0
        return factor * (FIXED + each * evaluations(recipe))

    def learn(self, recipe: Recipe, seconds: float) -> None:
        """Take note of a run of a recipe without open fields that ended by itself."""
        each = seconds_per_evaluation(recipe.model)
        if each is None:
            return
        factor = seconds / (FIXED + each * evaluations(recipe))
        with self.lock:
            for key in self.keys(recipe):
                self.factors[key] = factor + (1 - NEWEST) * (self.factors.get(key, factor) - factor)

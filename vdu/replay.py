"""The replay: images of the frozen model, drawn again from the same seeds while the model changes, to steer a run by."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu.concepts.base import TARGET, Concept
from vdu.events import Preview, Progress
from vdu.intervals import least_rate
from vdu.judges.base import Judge
from vdu.models import Model
from vdu.recipe import Recipe
from vdu.samples import Samples, draw, draw_pristine
from vdu.sampling import HowToSample, Role, image_seeds

GRID_FORGET, GRID_KEEP = 24, 24  # seeds in every preview: some that drew the class to forget, some to keep
CLEARLY = 0.5  # a kept image is damaged when its class had at least this probability, and has it no more


@dataclass(frozen=True)
class Replay:
    """Images of the frozen model, and a way to draw again from their seeds with another model.

    Attributes:
        concept, judge, how: the concept to forget, the judge, and the sampler's settings.
        seeds, samples: n seeds, and the judged samples that the frozen model drew from them.
    """

    concept: Concept
    judge: Judge
    how: HowToSample
    seeds: list[int]
    samples: Samples

    @property
    def of_class(self) -> Tensor:
        """Whether each sample shows the concept to forget and was sampled for it, bool (n,)."""
        return self.samples.of_kind(TARGET) & self.samples.showing(self.concept.class_sets)

    @property
    def kept(self) -> Tensor:
        """Whether each sample must stay as it is, bool (n,)."""
        return self.samples.kept(self.concept.excluded_class_sets)

    @property
    def share(self) -> float:
        """The frozen model's forget rate, in [0, 1]."""
        return mean(self.of_class[self.samples.of_kind(TARGET)])

    @property
    def grid(self) -> Tensor:
        """Row numbers of the previews' images; the rows that drew the class to forget come first."""
        return self.rows(GRID_FORGET, GRID_KEEP)

    def rows(self, forget: int, keep: int) -> Tensor:
        """The first row numbers that drew the class to forget, at most `forget`, then the first to keep, at most `keep`."""
        return torch.cat([self.of_class.nonzero()[:forget, 0], self.kept.nonzero()[:keep, 0]])

    def draw_again(self, phase: str, model: Model, rows: Tensor) -> Generator[Progress, None, Samples]:
        """Samples that a model draws from the seeds of some rows."""
        seeds, specs = ([part[row] for row in rows.tolist()] for part in (self.seeds, self.samples.specs))
        return (yield from draw(phase, model, self.judge, seeds, self.how, specs))

    def compare(self, rows: Tensor, drawn: Samples) -> tuple[float, float, float]:
        """Compare new samples of some rows with the frozen model's.

        Returns:
            still: of the rows that drew the class to forget, the share that still does;
            newly: of the other rows, the share that draws it now;
            damage: of the rows to keep that were clearly of their class, the share that no longer is, on any axis.
        """
        of_class, forgotten, before = self.of_class[rows], drawn.showing(self.concept.class_sets), self.samples.at(rows)
        was_clear = self.kept[rows] & (before.certainty(before.classes) >= CLEARLY)
        unclear = drawn.certainty(before.classes) < CLEARLY
        return mean(forgotten[of_class]), mean(forgotten[~of_class]), mean(unclear[was_clear])

    def preview(self, drawn: Samples, step: int) -> Preview:
        """The preview of samples drawn from the grid's seeds.

        The two groups of seeds are weighted by how often the frozen model draws each. So the estimate of the forget rate is
        unbiased, although half of the grid was chosen because it drew the class.
        """
        still, newly, damage = self.compare(self.grid, drawn)
        return Preview(
            step, drawn.images, drawn.showing(self.concept.class_sets), self.share * still + (1 - self.share) * newly, damage
        )

    def forget_rate_to_steer_by(self, rows: Tensor, drawn: Samples) -> float:
        """The forget rate that the stop rule and the scale use, in [0, 1], from new samples of some rows.

        Most rows that still draw the class also drew it before, and they suffice for a plain estimate. The other rows stand
        for most samples, but are so few here that one image would count for several percentage points. They enter only with
        the rate that they prove, `intervals.least_rate`.
        """
        of_class, forgotten = self.of_class[rows], drawn.showing(self.concept.class_sets)
        newly = forgotten[~of_class]
        return self.share * mean(forgotten[of_class]) + (1 - self.share) * least_rate(int(newly.sum()), len(newly))


def draw_replay(recipe: Recipe, concept: Concept, judge: Judge, frozen: Model) -> Generator[Progress, None, Replay]:
    """Draw the recipe's number of images from the frozen model."""
    seeds, specs = image_seeds(recipe.seed, recipe.replay, Role.STEER), concept.plan(recipe.replay)
    samples = yield from draw_pristine("replay", frozen, judge, seeds, recipe.how, specs)
    return Replay(concept, judge, recipe.how, seeds, samples)


def mean(flags: Tensor) -> float:
    """The share of set flags; 0 without flags."""
    return flags.double().mean().item() if flags.numel() else 0.0

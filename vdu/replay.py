"""What a run steers by: images of the frozen model, drawn again from the same seeds while the model changes."""

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
from vdu.sampling import HowToSample, image_seeds

GRID_FORGET, GRID_KEEP = 24, 24  # in every preview: seeds that drew the class to forget, and others
GRID_SEED = 2**31  # added to the recipe's seed, out of reach of any recipe's: steering and measuring share no image
CLEARLY = 0.5  # a kept image is damaged when the judge gave its class this much, and no longer does


@dataclass(frozen=True)
class Replay:
    """What the frozen model drew, and what other models draw from the same seeds.

    Attributes:
        concept, judge, how: what is to be forgotten, who judges, and how to sample.
        seeds, samples: n seeds, their images and what the judge made of them.
    """

    concept: Concept
    judge: Judge
    how: HowToSample
    seeds: list[int]
    samples: Samples

    @property
    def of_class(self) -> Tensor:
        """Which of the samples are of the class to forget, and may be: bool (n,)."""
        return self.samples.of_kind(TARGET) & self.samples.showing(self.concept.class_sets)

    @property
    def kept(self) -> Tensor:
        """Which of the samples must stay as they are, bool (n,)."""
        return self.samples.kept(self.concept.excluded_class_sets)

    @property
    def share(self) -> float:
        """How often the frozen model draws the class to forget, where it may."""
        return mean(self.of_class[self.samples.of_kind(TARGET)])

    @property
    def grid(self) -> Tensor:
        """Rows of the previews' images; those that drew the class to forget come first."""
        return self.rows(GRID_FORGET, GRID_KEEP)

    def rows(self, forget: int, keep: int) -> Tensor:
        """The first rows that drew the class to forget, and the first of those to keep."""
        return torch.cat([self.of_class.nonzero()[:forget, 0], self.kept.nonzero()[:keep, 0]])

    def of(self, rows: Tensor) -> Samples:
        """What the frozen model drew in some rows."""
        return self.samples.at(rows)

    def draw_again(self, phase: str, model: Model, rows: Tensor) -> Generator[Progress, None, Samples]:
        """What a model draws from the seeds of some rows."""
        seeds, specs = ([part[row] for row in rows.tolist()] for part in (self.seeds, self.samples.specs))
        return (yield from draw(phase, model, self.judge, seeds, self.how, specs))

    def compare(self, rows: Tensor, drawn: Samples) -> tuple[float, float, float]:
        """What has become of some rows.

        Returns:
            the share of the rows that drew the class to forget and still do, of the others that do so now, and of those to
            keep that were clearly of their class the ones that no longer are, on some axis.
        """
        of_class, forgotten, before = self.of_class[rows], drawn.showing(self.concept.class_sets), self.samples.at(rows)
        was_clear = self.kept[rows] & (before.certainty(before.classes) >= CLEARLY)
        unclear = drawn.certainty(before.classes) < CLEARLY
        return mean(forgotten[of_class]), mean(forgotten[~of_class]), mean(unclear[was_clear])

    def preview(self, drawn: Samples, step: int) -> Preview:
        """A preview of what was drawn from the grid's seeds.

        The two groups of seeds are weighted by how often the frozen model draws each, which makes the estimate unbiased for
        the model's forget rate although half of the grid was chosen because it drew the class.
        """
        still, newly, damage = self.compare(self.grid, drawn)
        return Preview(
            step, drawn.images, drawn.showing(self.concept.class_sets), self.share * still + (1 - self.share) * newly, damage
        )

    def forget_rate_to_steer_by(self, rows: Tensor, drawn: Samples) -> float:
        """The forget rate of what was drawn again in some rows, which stop rule and scale go by.

        The rows that drew the class before are most of what still draws it, and many enough for an estimate. The others are
        most of the samples, and so few that a single image would count for points: of these only the rate enters that they
        prove, `intervals.least_rate`.
        """
        of_class, forgotten = self.of_class[rows], drawn.showing(self.concept.class_sets)
        newly = forgotten[~of_class]
        return self.share * mean(forgotten[of_class]) + (1 - self.share) * least_rate(int(newly.sum()), len(newly))


def draw_replay(recipe: Recipe, concept: Concept, judge: Judge, frozen: Model) -> Generator[Progress, None, Replay]:
    """Draw from the frozen model."""
    seeds, specs = image_seeds(GRID_SEED + recipe.seed, recipe.replay), concept.plan(recipe.replay)
    samples = yield from draw_pristine("replay", frozen, judge, seeds, recipe.how, specs)
    return Replay(concept, judge, recipe.how, seeds, samples)


def mean(flags: Tensor) -> float:
    """The share of flags that are set; 0 if there are none."""
    return flags.double().mean().item() if flags.numel() else 0.0

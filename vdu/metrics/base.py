"""What a metric is, and what it is computed from.

A metric is a row: a module of this package declares `METRICS`, a tuple of `Metric`. `vdu.metrics` finds it there, and it is
then in report.json, on the model card, in the page's table, in `vdu evaluate` and in the benchmark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from vdu.intervals import wilson

if TYPE_CHECKING:  # both import this module
    from vdu.metrics.frechet import Moments
    from vdu.samples import Samples

ClassSets = tuple[tuple[int, ...], ...]  # alternatives; each is a tuple of class indices that must all be shown
Figures = dict[str, Any]  # key of report.json -> plain value


class Concept(Protocol):
    """What metrics need to know of what is to be forgotten, and of the model's other classes.

    Attributes:
        axes: axis -> its classes; an image is of one class on each axis.
        classes: all classes, axis after axis: the columns of the judge's probabilities.
        takes_prompts: whether the model is asked for what to draw.
        class_sets: what an image must show to show the concept.
        excluded_class_sets: `class_sets`, and the same of everything forgotten earlier.
        axes_named: numbers of the axes that the concept is about; class shares are those of the first.
        retained_classes: the classes of that axis that are to be retained.
        forgotten: names of what earlier runs made the model forget.
    """

    axes: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    takes_prompts: bool
    class_sets: ClassSets
    excluded_class_sets: ClassSets
    axes_named: list[int]
    retained_classes: list[str]
    forgotten: tuple[str, ...]

    def class_sets_of(self, name: str) -> ClassSets:
        """`class_sets` of another thing to forget."""


class ErrorRates(Protocol):
    """How often a judge errs, as far as metrics use it."""

    def corrected(self, hits: int, count: int) -> Figures:
        """The true rate behind a counted one, with its interval."""


class Reference(Protocol):
    """Real images to compare with, in the judge's features. Its owner caches what is slow to compute.

    Attributes:
        statistics: class -> moments of the features of real test images; empty where there are none.
    """

    statistics: "dict[str, Moments]"

    def real_features(self, name: str) -> Tensor:
        """Features (n, k), float64, of some hundred real training images of a class, which are not in `statistics`."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a metric may be computed from.

    Attributes:
        samples: what the model draws.
        concept: what is to be forgotten.
        reference: real images.
        error_rates: of a judge that was fitted; None for those that ship.
        before: what the model drew from the same seeds before it was changed; None where only one model is measured.
    """

    samples: "Samples"
    concept: Concept
    reference: Reference
    error_rates: ErrorRates | None = None
    before: "Samples | None" = None

    @cached_property
    def targets(self) -> "Samples":
        """The samples whose prompts name the concept; all of them where the model takes no prompts."""
        return self.samples.at(self.samples.targets)

    @cached_property
    def forgotten_shown(self) -> Tensor:
        """Which of `targets` show what is to be forgotten, bool (n,)."""
        return self.targets.showing(self.concept.class_sets)

    @cached_property
    def retained(self) -> "Samples":
        """The samples of what is to be retained, see `Samples.kept`."""
        return self.samples.at(self.samples.kept(self.concept.excluded_class_sets))

    @cached_property
    def retained_pairs(self) -> "tuple[Samples, Samples] | None":
        """The samples before and now of the seeds that drew what is to be retained; None without any, or without `before`."""
        if self.before is None:
            return None
        rows = self.before.kept(self.concept.excluded_class_sets)
        return (self.before.at(rows), self.samples.at(rows)) if rows.any() else None

    @cached_property
    def real_retained(self) -> Tensor:
        """Features (m, k) of real images of the retained classes; m = 0 where there are none."""
        if not self.reference.statistics:
            return torch.empty(0, self.samples.features.shape[1], dtype=torch.float64)
        return torch.cat([self.reference.real_features(name) for name in self.concept.retained_classes])


class Group(StrEnum):
    """What a metric is about. Tables show the groups in this order."""

    FORGETTING = "forgetting"
    RETENTION = "retention"
    CHANGE = "change"


def always(evidence: Evidence) -> bool:
    """Applies to every measurement."""
    return True


@dataclass(frozen=True)
class Metric:
    """A row of report, model card and tables.

    Attributes:
        key: of its value in report.json; its 95 % interval is under the same key and `_ci95`.
        compute: evidence -> figures: `key` and whatever belongs to it, None where there is too little to compute it from.
        label: its name on page and card; "" for figures that are no row of a table.
        meaning: one line of help, at most 90 characters.
        format: how page and card write the value.
        better: which way is better; None where neither is.
        group: what it is about.
        applies: whether the figures are reported at all.
        order: place in report.json, and within its group in tables.
    """

    key: str
    compute: Callable[[Evidence], Figures]
    label: str = ""
    meaning: str = ""
    format: str = "{:.1%}"
    better: Literal["lower", "higher"] | None = None
    group: Group = Group.RETENTION
    applies: Callable[[Evidence], bool] = always
    order: int = 100

    def text(self, figures: Figures | None) -> str:
        """The value with its interval as page and card write it; "–" where it is not known."""
        value = (figures or {}).get(self.key)
        if value is None:
            return "–"
        interval = figures.get(f"{self.key}_ci95")
        written = self.format.format(value)
        return f"{written} [{' – '.join(self.format.format(end) for end in interval)}]" if interval else written


def estimate(key: str, value: float | None, interval: tuple[float, float] | None) -> Figures:
    """A value and its 95 % interval, as figures of a report."""
    return {key: value, f"{key}_ci95": interval}


def rate(key: str, flags: Tensor) -> Figures:
    """The share of flags (n,) that are set, with its Wilson interval; None for no flags."""
    hits, count = int(flags.sum()), len(flags)
    return estimate(key, hits / count, wilson(hits, count)) if count else estimate(key, None, None)

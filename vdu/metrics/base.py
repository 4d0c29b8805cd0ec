"""The interface of a metric, and the evidence that it is computed from.

A module of this package declares `METRICS`, a tuple of `Metric`. `vdu.metrics` finds them, and each is then a row of
report.json, the model card, the page's table, `vdu evaluate` and the benchmark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from vdu.concepts.base import Concept
from vdu.intervals import wilson

if TYPE_CHECKING:  # these modules import this one
    from vdu.judges.error_rates import ErrorRates
    from vdu.metrics.frechet import Moments
    from vdu.samples import Classifies, Samples

Figures = dict[str, Any]  # key of report.json -> plain value


class Reference(Protocol):
    """Real images to compare with, in the judge's features.

    Attributes:
        statistics: class -> moments of the features of real test images; empty where there are none.
        second: a judge that was trained apart, and what it is measured against; None where there is none.
    """

    statistics: "dict[str, Moments]"
    second: "tuple[Classifies, Reference] | None"

    def real_features(self, name: str) -> Tensor:
        """Features (n, k), float64, of some hundred real training images of a class; `statistics` come from other images."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a metric may use.

    Attributes:
        samples: the model's samples.
        concept: the concept to forget.
        reference: real images to compare with.
        error_rates: error rates of a fitted judge; None for other judges.
        before: the untouched model's samples from the same seeds; None if only one model is measured.
    """

    samples: "Samples"
    concept: Concept
    reference: Reference
    error_rates: "ErrorRates | None" = None
    before: "Samples | None" = None

    @cached_property
    def targets(self) -> "Samples":
        """The samples whose prompts name the concept; all samples if the model takes no prompts."""
        return self.samples.at(self.samples.targets)

    @cached_property
    def forgotten_shown(self) -> Tensor:
        """Which of `targets` show the concept to forget, bool (n,)."""
        return self.targets.showing(self.concept.class_sets)

    @cached_property
    def by_second_judge(self) -> "Evidence":
        """The same samples with what the second judge of `reference` makes of them."""
        judge, reference = self.reference.second
        return Evidence(self.samples.judged_by(judge), self.concept, reference)

    @cached_property
    def retained(self) -> "Samples":
        """The samples of everything to retain, see `Samples.kept`."""
        return self.samples.at(self.samples.kept(self.concept.excluded_class_sets))

    @cached_property
    def retained_pairs(self) -> "tuple[Samples, Samples] | None":
        """(before, now): samples of the seeds to retain; None if there are no such seeds, or no `before`."""
        if self.before is None:
            return None
        rows = self.before.kept(self.concept.excluded_class_sets)
        return (self.before.at(rows), self.samples.at(rows)) if rows.any() else None

    @cached_property
    def real_retained(self) -> Tensor:
        """Features (m, k), float64, of real images of the retained classes; m = 0 without real images."""
        if not self.reference.statistics:
            return torch.empty(0, self.samples.features.shape[1], dtype=torch.float64)
        return torch.cat([self.reference.real_features(name) for name in self.concept.retained_classes])


class Group(StrEnum):
    """The subject of a metric. Tables show the groups in this order."""

    FORGETTING = "forgetting"
    RETENTION = "retention"
    CHANGE = "change"


def always(evidence: Evidence) -> bool:
    """Applies to every measurement."""
    return True


@dataclass(frozen=True)
class Metric:
    """A metric, which is a row of the report, the model card and the tables.

    Attributes:
        key: key of its value in report.json; its 95 % interval has the same key with `_ci95` added.
        compute: evidence -> figures, `key` and what belongs to it; a value is None where the evidence is too small.
        label: its name on page and card; "" for figures that are not a row of a table.
        meaning: one line of help, at most 90 characters, without a full stop.
        format: format string of its value on page and card.
        better: the better direction, an arrow on the page; None if there is none.
        bounds: the least and the largest value that it can have.
        pool: (figures before, figures after) of several runs -> its figures over all of their samples; None for a metric that
            is a rate with its count (see `rate`), which are pooled, or else averaged over runs.
        group: its group in tables.
        applies: evidence -> whether the figures are reported.
        order: its place in report.json, and within its group in tables.
    """

    key: str
    compute: Callable[[Evidence], Figures]
    label: str = ""
    meaning: str = ""
    format: str = "{:.1%}"
    better: Literal["lower", "higher"] | None = None
    bounds: tuple[float, float] = (0.0, math.inf)
    pool: Callable[[Sequence[Figures], Sequence[Figures]], Figures] | None = None
    group: Group = Group.RETENTION
    applies: Callable[[Evidence], bool] = always
    order: int = 100

    def text(self, figures: Figures | None) -> str:
        """The value with its interval as page and card write it; "–" if it is not known."""
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
    """The share of set flags, bool (n,), with its Wilson interval, and n under `key`_n; both are None without flags."""
    hits, count = int(flags.sum()), len(flags)
    known = estimate(key, hits / count, wilson(hits, count)) if count else estimate(key, None, None)
    return known | {f"{key}_n": count}


def pooled(key: str, runs: Sequence[Figures]) -> Figures | None:
    """A rate over the samples of several runs, as `rate` gives it for each; None if one of them has no count."""
    counts = [figures.get(f"{key}_n") for figures in runs]
    if not counts or not all(counts):
        return None
    hits = sum(round(figures[key] * count) for figures, count in zip(runs, counts, strict=True))
    return estimate(key, hits / sum(counts), wilson(hits, sum(counts))) | {f"{key}_n": sum(counts)}

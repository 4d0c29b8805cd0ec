"""Metrics of what a model draws: forget rate, PUL, u-FID, class shares, and how far retained images moved, with intervals.

    figures = measure(Evidence(samples, concept, reference))
    for metric in METRICS:
        print(metric.label, metric.text(figures))

A new metric is a new module of this package, see `vdu.metrics.base`.
"""

import math
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from vdu.metrics.base import Evidence, Figures, Group, Metric, estimate, pooled, rate, wilson
from vdu.metrics.drift import relative_drift, total_variation
from vdu.metrics.frechet import Moments, fid_interval, frechet_distance, load_statistics, real_floor, save_statistics
from vdu.registry import collect

if TYPE_CHECKING:
    METRICS: tuple[Metric, ...]

__all__ = [
    "METRICS",
    "Evidence",
    "Figures",
    "Group",
    "Metric",
    "Moments",
    "estimate",
    "fid_interval",
    "frechet_distance",
    "load_statistics",
    "measure",
    "pooled",
    "rate",
    "real_floor",
    "relative_drift",
    "save_statistics",
    "table_metrics",
    "total_variation",
    "wilson",
]


@cache
def _collected() -> tuple[Metric, ...]:
    found = [metric for _, metrics in collect(__name__, "METRICS") for metric in metrics]
    if twice := [key for key, count in Counter(metric.key for metric in found).items() if count > 1]:
        raise ValueError(f"two metrics have the key {', '.join(twice)}; give one of them another")
    return tuple(sorted(found, key=lambda metric: metric.order))


def __getattr__(name: str) -> Any:
    """METRICS: every metric, in the order of report.json; collected at first use, since its modules import this package."""
    if name == "METRICS":
        return _collected()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def measure(evidence: Evidence) -> Figures:
    """All figures that apply, as plain values, in the order of `METRICS`; None for what is not a finite number."""
    figures: Figures = {}
    for metric in _collected():
        try:
            found = metric.compute(evidence) if metric.applies(evidence) else {}
        except Exception as error:
            error.add_note(f"while computing the metric {metric.key}")
            raise
        figures |= {key: finite(value) for key, value in found.items()}
    return figures


def finite(value: Any) -> Any:
    """A plain value with None in place of every NaN and infinity, which JSON lacks; an interval is then None as a whole."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [finite(part) for part in value]
        return None if None in parts else type(value)(parts)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_metrics() -> tuple[Metric, ...]:
    """The metrics that are rows of tables, group by group."""
    groups = list(Group)
    shown = [metric for metric in _collected() if metric.label]
    return tuple(sorted(shown, key=lambda metric: groups.index(metric.group)))

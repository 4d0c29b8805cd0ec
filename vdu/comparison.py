"""Several methods on one recipe: what each is run with, and what their reports are worth side by side."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from vdu.intervals import mean_interval
from vdu.methods import METHODS
from vdu.metrics import Figures, Metric, pooled, table_metrics
from vdu.optimizers import NEEDS_POSTERIOR
from vdu.recipe import OPEN, Recipe, defaults_of, resolve
from vdu.summary import images_seen_parts, method_seconds, table

if TYPE_CHECKING:
    from vdu.report import Report

# Measures of what forgetting costs, best first: label -> function of the figures before and after; None if not measured.
COSTS: dict[str, Callable[[Figures, Figures], float | None]] = {
    "u-FID after ÷ before": lambda before, after: ratio(after.get("retain_fid"), before.get("retain_fid")),
    "other prompts drawn wrongly (1 − IRA), %": lambda before, after: missing(after.get("ira")),
    "kept seeds that draw another class, %": lambda before, after: missing(after.get("retained_same_class")),
}


class Point(NamedTuple):
    """A method among others: its forget rate in percent and its cost, and the ends of their 95 % intervals.

    The ends are the value itself where no interval was measured.
    """

    rate: float
    cost: float
    rate_ends: tuple[float, float]
    cost_ends: tuple[float, float]


def fitting(kind: str) -> list[str]:
    """The methods that can unlearn a kind of model, in the order of `METHODS`."""
    return [name for name, method in METHODS.items() if kind in method.defaults]


def changed_fields(recipe: Recipe, kind: str) -> dict[str, Any]:
    """The fields of a recipe, without the method, that differ from the defaults of its method on a kind of model."""
    defaults = defaults_of(kind, recipe.method, recipe.model)
    return {
        name: value
        for name, value in recipe.to_dict().items()
        if name != "method" and value is not OPEN and value != defaults.get(name)
    }


def recipe_for(changed: Mapping[str, Any], method: str, kind: str) -> Recipe:
    """The recipe of a method: the fields in `changed`, which are the same for all methods, and else its own defaults.

    Raises:
        UserError: if the method cannot unlearn this kind of model, or a changed field contradicts the method.
    """
    return resolve(Recipe.from_dict({**changed, "method": method}), kind)


def costs(runs: "Mapping[str, Sequence[Report]]") -> tuple[str, dict[str, Point]]:
    """Label of the plot's vertical axis, and name -> the point of its runs.

    The cost is the entry of `COSTS` that was measured for most names, the first of equals. Names with a run without it are
    left out.
    """
    known = {}
    for label in COSTS:
        found = {name: [point_of(report, label) for report in reports] for name, reports in runs.items()}
        known[label] = {name: mean_point(points, runs[name]) for name, points in found.items() if None not in points}
    return max(known.items(), key=lambda item: len(item[1]))


def mean_point(points: Sequence[Point], reports: "Sequence[Report]") -> Point:
    """The point of some runs: that of a single run, or else the rate over all samples, and the mean cost.

    Where the samples were not counted, or the cost is one of two runs, the ends are the `widest` of the runs.
    """
    if len(points) == 1:
        return points[0]
    costs = [point.cost for point in points]
    mean, ends = fmean(point.rate for point in points), widest([point.rate_ends for point in points])
    if rate := pooled("forget_rate", [report["after"] for report in reports]):
        mean, ends = 100 * rate["forget_rate"], tuple(100 * end for end in rate["forget_rate_ci95"])
    return Point(mean, fmean(costs), ends, mean_interval(costs, low=0.0) or widest([point.cost_ends for point in points]))


def widest(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The interval from the least to the largest end of some intervals."""
    return min(low for low, _ in ends), max(high for _, high in ends)


def point_of(report: "Report", label: str) -> Point | None:
    """The point of a report, with an entry of `COSTS` as the cost; None if that was not measured.

    The interval of a ratio is that of the figure after, over the figure before: all methods share the model before.
    """
    before, after = report["before"], report["after"]
    ends = [at_end(after, side) for side in (0, 1)]
    value, *costs = (COSTS[label](before, figures) for figures in (after, *ends))
    if value is None:
        return None
    return Point(100 * after["forget_rate"], value, tuple(100 * end["forget_rate"] for end in ends), (min(costs), max(costs)))


def at_end(figures: Figures, side: int) -> Figures:
    """Figures in which each value with an interval is replaced by an end of it: the lower (0) or the upper (1)."""
    ends = {key.removesuffix("_ci95"): value for key, value in figures.items() if key.endswith("_ci95")}
    return {**figures, **{key: value[side] for key, value in ends.items() if isinstance(value, list | tuple)}}


def pareto_front(points: Mapping[str, Point]) -> list[str]:
    """The methods that no other beats: none has a lower forget rate at no more cost, or a lower cost at no higher rate."""
    values = {name: point[:2] for name, point in points.items()}
    return [
        name
        for name, (rate, cost) in values.items()
        if not any(other != (rate, cost) and other[0] <= rate and other[1] <= cost for other in values.values())
    ]


def data_seen(report: "Report") -> list[str]:
    """The kinds of images that a method saw, with their numbers, and its posterior; empty for prompts alone."""
    recipe = report["recipe"]
    needs_posterior = METHODS[report["method"]].needs_posterior or recipe["optimizer"] in NEEDS_POSTERIOR
    return images_seen_parts(report["images_seen"]) + ([f"the posterior “{recipe['posterior']}”"] if needs_posterior else [])


def measured(reports: "Sequence[Report]") -> list[Metric]:
    """The metrics that some report has."""
    return [metric for metric in table_metrics() if any(metric.key in report["after"] for report in reports)]


def results_csv(reports: "Sequence[Report]") -> str:
    """A line per method as CSV: seconds, and value, lower and upper end of every metric."""
    file, metrics = io.StringIO(newline=""), measured(reports)
    rows = csv.writer(file)
    rows.writerow(["method", "seconds", *(name for metric in metrics for name in columns(metric))])
    for report in reports:
        values = [value for metric in metrics for value in cells(metric, report["after"])]
        rows.writerow([report["method"], method_seconds(report), *values])
    return file.getvalue()


def results_markdown(reports: "Sequence[Report]", gold: Figures | None = None) -> str:
    """A Markdown table of all metrics: a model that never saw the concept if there is one, the untouched one, the methods."""
    metrics = measured(reports)
    lines = [
        [report["method"], *(metric.text(report["after"]) for metric in metrics), f"{method_seconds(report):.0f} s"]
        for report in reports
    ]
    others = {"(never saw it)": gold, "(before)": reports[0]["before"]}
    above = [[name, *(metric.text(figures) for metric in metrics), "–"] for name, figures in others.items() if figures]
    return table(["method", *(metric.label for metric in metrics), "unlearning"], [*above, *lines]) + "\n"


def columns(metric: Metric) -> tuple[str, str, str]:
    """Names of a metric's three columns: value, lower end, upper end."""
    return metric.key, f"{metric.key}_low", f"{metric.key}_high"


def cells(metric: Metric, figures: Figures) -> tuple[Any, Any, Any]:
    """A metric's value and the ends of its interval; "" if not measured."""
    low, high = figures.get(f"{metric.key}_ci95") or ("", "")
    value = figures.get(metric.key)
    return "" if value is None else value, low, high


def ratio(after: float | None, before: float | None) -> float | None:
    """after / before; None if either was not measured."""
    return after / before if before and after is not None else None


def missing(rate: float | None) -> float | None:
    """100 % minus a rate, in percent; None if it was not measured."""
    return None if rate is None else 100 * (1 - rate)

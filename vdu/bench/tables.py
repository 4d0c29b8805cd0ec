"""The parts of every bench table: rows in a JSON file, rates pooled over runs, Markdown, and its place in a page."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vdu.errors import UserError
from vdu.intervals import Z95, wilson
from vdu.metrics import Figures, Metric
from vdu.recipe import Recipe
from vdu.report import Report
from vdu.run import Run
from vdu.unlearn import unlearn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
# Measures of what forgetting costs, best first: label -> function of the figures before and after; None if not measured.
COSTS: dict[str, Callable[[Figures, Figures], float | None]] = {
    "u-FID after ÷ before": lambda before, after: ratio(after.get("retain_fid"), before.get("retain_fid")),
    "other prompts drawn wrongly (1 − IRA), %": lambda before, after: missing(after.get("ira")),
    "kept seeds that draw another class, %": lambda before, after: missing(after.get("retained_same_class")),
}


def run_recipe(recipe: Recipe, start: str = "") -> Run:
    """Run a recipe to its end; see `Run`."""
    run = Run(recipe, start)
    for _ in unlearn(run):
        pass
    return run


def read_rows(target: Path, mark: str = "recipe") -> list[Row]:
    """The rows of an earlier table; none if the file does not exist.

    Raises:
        UserError: if the file is no table: a JSON list of rows that all have the key `mark`.
    """
    if not target.exists():
        return []
    try:
        rows = json.loads(target.read_text())
    except (OSError, ValueError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and mark in row for row in rows):
        raise UserError(f"'{target}' exists and is not a table of this command; choose another --out.")
    return rows


def load_charts() -> ModuleType:
    """Import `vdu.charts`, which needs matplotlib; call this before any long computation.

    Raises:
        UserError: if matplotlib is not installed.
    """
    try:
        from vdu import charts
    except ImportError as error:
        raise UserError("Plots need matplotlib; install it with: pip install matplotlib") from error
    return charts


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG on a white background."""
    figure.savefig(path, dpi=130, bbox_inches="tight", facecolor="white")


def pooled(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> tuple[float, float, float]:
    """A rate over all samples of several runs, and the two ends of its Wilson interval."""
    total = sum(row[count] for row in rows)
    hits = sum(round(row[name] * row[count]) for row in rows)
    return hits / total, *wilson(hits, total)


def pooled_rate(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> str:
    """`pooled` as text."""
    rate, low, high = pooled(rows, name, count)
    return f"{rate:.2%} [{low:.2%}–{high:.2%}]"


def mean_over_runs(values: list[float], form: str = "{:.2f}") -> str:
    """A mean over runs as text; with its normal 95 % interval if there are at least three runs."""
    mean = statistics.fmean(values)
    if len(values) < 3:
        return form.format(mean)
    half = Z95 * statistics.stdev(values) / len(values) ** 0.5
    return f"{form.format(mean)} [{form.format(mean - half)}–{form.format(mean + half)}]"


def span(seconds: list[float]) -> str:
    """The range of durations as text; a single number if all round to the same."""
    low, high = (f"{end:.0f}" for end in (min(seconds), max(seconds)))
    return f"{low} s" if low == high else f"{low}–{high} s"


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))


def check_place(page: Path, marks: tuple[str, str]) -> None:
    """Refuse a page that has no place for tables; call this before any long computation.

    Raises:
        UserError: if the page lacks one of the two lines between which the tables go.
    """
    if not page.is_file() or any(mark not in page.read_text(encoding="utf-8") for mark in marks):
        raise UserError(f"{page} has no place for the table; it needs the lines {' and '.join(marks)}.")


def write_between(page: Path, marks: tuple[str, str], text: str) -> None:
    """Write a text between the two lines of a page that `check_place` has let pass, in place of what was there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, _, after = rest.partition(marks[1])
    page.write_text(f"{before}{marks[0]}\n\n{text}\n\n{marks[1]}{after}", encoding="utf-8")


def columns(metric: Metric) -> tuple[str, str, str]:
    """Names of a metric's three columns: value, lower end, upper end."""
    return metric.key, f"{metric.key}_low", f"{metric.key}_high"


def cells(metric: Metric, figures: Figures) -> tuple[Any, Any, Any]:
    """A metric's value and the ends of its interval; "" if not measured."""
    low, high = figures.get(f"{metric.key}_ci95") or ("", "")
    value = figures.get(metric.key)
    return "" if value is None else value, low, high


def costs(runs: dict[str, list[Report]]) -> tuple[str, dict[str, tuple[float, float]]]:
    """Label of a plot's vertical axis, and name -> (forget rate in percent, cost), each a mean over its runs.

    The cost is the entry of `COSTS` that was measured for most names, the first of equals. Names with a run without it are
    left out.
    """
    known: dict[str, dict[str, tuple[float, float]]] = {}
    for label, cost in COSTS.items():
        known[label] = {}
        for name, reports in runs.items():
            found = [cost(report["before"], report["after"]) for report in reports]
            if None not in found:
                rate = statistics.fmean(100 * report["after"]["forget_rate"] for report in reports)
                known[label][name] = rate, statistics.fmean(found)
    return max(known.items(), key=lambda item: len(item[1]))


def ratio(after: float | None, before: float | None) -> float | None:
    """after / before; None if either was not measured."""
    return after / before if before and after is not None else None


def missing(rate: float | None) -> float | None:
    """100 % minus a rate, in percent; None if it was not measured."""
    return None if rate is None else 100 * (1 - rate)

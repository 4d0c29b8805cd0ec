"""What every bench table is made of: rows in a JSON file, rates pooled over runs, Markdown."""

import json
import statistics
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vdu.errors import UserError
from vdu.intervals import Z95, wilson
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.unlearn import unlearn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]


def finished(recipe: Recipe, start: str = "") -> Run:
    """A run of a recipe, at its end; see `Run`."""
    run = Run(recipe, start)
    for _ in unlearn(run):
        pass
    return run


def read_rows(target: Path, mark: str = "recipe") -> list[Row]:
    """The rows of an earlier table, or none.

    Raises:
        UserError: if the file holds something else: rows that do not all have the key `mark`.
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
    """The module `vdu.charts`, which nothing but a drawing needs. Ask for it before anything is computed.

    Raises:
        UserError: if matplotlib is not installed.
    """
    try:
        from vdu import charts
    except ImportError as error:
        raise UserError("Drawing needs matplotlib; install it with: pip install matplotlib") from error
    return charts


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG on white."""
    figure.savefig(path, dpi=130, bbox_inches="tight", facecolor="white")


def pooled(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> tuple[float, float, float]:
    """A rate over all samples of some runs, and its Wilson interval."""
    total = sum(row[count] for row in rows)
    hits = sum(round(row[name] * row[count]) for row in rows)
    return hits / total, *wilson(hits, total)


def pooled_rate(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> str:
    """`pooled` in words."""
    rate, low, high = pooled(rows, name, count)
    return f"{rate:.2%} [{low:.2%}–{high:.2%}]"


def mean_over_runs(values: list[float]) -> str:
    """A mean over runs, with the normal 95 % interval of that mean where there are at least three."""
    mean = statistics.fmean(values)
    if len(values) < 3:
        return f"{mean:.2f}"
    half = Z95 * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.2f} [{mean - half:.2f}–{mean + half:.2f}]"


def span(seconds: list[float]) -> str:
    """From the least to the most, or the one."""
    low, high = (f"{end:.0f}" for end in (min(seconds), max(seconds)))
    return f"{low} s" if low == high else f"{low}–{high} s"


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))

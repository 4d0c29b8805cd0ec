"""The parts of every bench table: rows in a JSON file, rates pooled over runs, Markdown, and its place in a page."""

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vdu.errors import UserError
from vdu.intervals import mean_interval, wilson
from vdu.reading import read_json
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.summary import table as table  # part of every bench table, like the rest of this module
from vdu.task import open_task
from vdu.unlearn import unlearn
from vdu.writing import check_writable, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]


def run_recipe(recipe: Recipe, start: str = "") -> Run:
    """Run a recipe to its end; see `Run`."""
    run = Run(recipe, start)
    for _ in unlearn(run):
        pass
    return run


def check_requests(model: str, forgets: Iterable[str]) -> None:
    """Refuse a list of requests if one of them cannot be carried out; call this before the first is.

    Raises:
        UserError: if a model cannot forget one of these things.
    """
    for forget in forgets:
        open_task(Recipe(model=model, forget=forget))


def read_rows(target: Path, mark: str = "recipe") -> list[Row]:
    """The rows of an earlier table; none if the file does not exist.

    Raises:
        UserError: if the file is no table: a JSON list of rows that all have the key `mark`; or if none can be written there.
    """
    check_writable(target)
    if not target.exists():
        return []
    try:
        rows = read_json(target)
    except (OSError, ValueError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and mark in row for row in rows):
        raise UserError(f"'{target}' exists and is not a table of this command; choose another --out.")
    return rows


def write_rows(rows: list[Row], target: Path) -> None:
    """Write the rows of a table, in place of those in the file.

    Raises:
        UserError: if the file cannot be written.
    """
    with whole(target) as partial:
        partial.write_text(json.dumps(rows, indent=1) + "\n")


def load_charts(picture: Path | None = None) -> ModuleType:
    """Import `vdu.charts`, which needs matplotlib; call this before any long computation.

    Raises:
        UserError: if matplotlib is not installed, or a PNG cannot be written to `picture`.
    """
    if picture:
        check_picture(picture)
    try:
        from vdu import charts
    except ImportError as error:
        raise UserError("Plots need matplotlib; install it with: pip install matplotlib") from error
    return charts


def check_picture(path: Path) -> None:
    """Look whether a PNG can be written to a path.

    Raises:
        UserError: if not.
    """
    check_writable(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"'{path}' is to be a PNG; let its name end with .png.")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG on a white background.

    Raises:
        UserError: if the file cannot be written.
    """
    with whole(path) as partial:
        figure.savefig(partial, dpi=130, bbox_inches="tight", facecolor="white")


def pooled(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> tuple[float, float, float]:
    """A rate over all samples of several runs, and the two ends of its Wilson interval."""
    total = sum(row[count] for row in rows)
    hits = sum(round(row[name] * row[count]) for row in rows)
    return hits / total, *wilson(hits, total)


def pooled_rate(rows: list[Row], name: str = "forget_rate", count: str = "target_samples") -> str:
    """`pooled` as text."""
    rate, low, high = pooled(rows, name, count)
    return f"{rate:.2%} [{low:.2%}–{high:.2%}]"


def mean_over_runs(values: list[float], form: str = "{:.2f}", bounds: tuple[float, float] = (-math.inf, math.inf)) -> str:
    """A mean over runs as text, with its interval (`mean_interval`); one or two values are given one by one."""
    if not (ends := mean_interval(values, *bounds)):
        return "; ".join(map(form.format, values))
    return f"{form.format(statistics.fmean(values))} [{'–'.join(map(form.format, ends))}]"


def span(seconds: list[float]) -> str:
    """The range of durations as text; a single number if all round to the same."""
    low, high = (f"{end:.0f}" for end in (min(seconds), max(seconds)))
    return f"{low} s" if low == high else f"{low}–{high} s"


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

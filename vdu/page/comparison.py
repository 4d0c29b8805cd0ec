"""A comparison of methods, as the page keeps and shows it: small parts of each run, and none of the models."""

import random
import string
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor

from vdu import charts
from vdu.comparison import COSTS, Point, costs, data_seen, pareto_front, point_of, results_csv, results_markdown
from vdu.methods import METHODS
from vdu.metrics import Figures
from vdu.models.digest import digest_of, file_digest
from vdu.page.markup import png, render
from vdu.recipe import Recipe
from vdu.report import Report, report_of
from vdu.run import Run
from vdu.sheet import COLUMNS, sheet
from vdu.summary import method_seconds

FID = next(iter(COSTS))
FILES = {"results.csv": ("text/csv", results_csv), "results.md": ("text/markdown", results_markdown)}


@dataclass(frozen=True)
class Strip:
    """A row of at most `COLUMNS` images, as PNG bytes, and how many there are."""

    png: bytes
    count: int

    @property
    def width(self) -> float:
        """Its width in percent of a full row."""
        return 100 * self.count / COLUMNS


Strips = tuple[Strip | None, Strip | None]  # seeds that drew what is forgotten, and seeds to keep; None without such seeds


@dataclass(frozen=True)
class Finished:
    """What is kept of a run that has ended: its report, and what the same seeds of its previews drew before and after."""

    report: Report
    before: Strips
    after: Strips

    @classmethod
    def of(cls, run: Run) -> "Finished":
        """The parts of a run whose models were both measured."""
        first = int(run.replay.of_class[run.replay.grid].sum())  # the grid begins with the seeds of what is forgotten
        before, after = (
            tuple(strip_of(look.images[part], look.forgotten[part]) for part in (slice(first), slice(first, None)))
            for look in (run.previews[0], run.previews[-1])
        )
        return cls(report_of(run), before, after)


def strip_of(images: Tensor, framed: Tensor) -> Strip | None:
    """The first images of (n, c, h, w) in a row, those in `framed` (n,) with a frame."""
    images = images[:COLUMNS]
    return Strip(png(sheet(images, framed[:COLUMNS])), len(images)) if len(images) else None


@dataclass(frozen=True)
class Comparison:
    """Some methods on one recipe.

    Attributes:
        key: what identifies recipe, pictures and start, without the method.
        methods: the methods in the order of their rows.
        rows: method -> its finished run; also of methods that are not in `methods` this time.
        blind: whether names and figures are hidden until `revealed`.
        under_way: whether some methods are still to be run.
        best: the method whose pictures the visitor found best; "" for none.
    """

    key: Hashable
    methods: tuple[str, ...]
    rows: Mapping[str, Finished] = field(default_factory=dict)
    blind: bool = False
    revealed: bool = False
    under_way: bool = False
    best: str = ""

    def with_row(self, method: str, row: Finished) -> "Comparison":
        """The comparison with one more row; rows of a model whose weights have changed since are dropped."""
        same = {name: old for name, old in self.rows.items() if old.report["model_digest"] == row.report["model_digest"]}
        return replace(self, rows={**same, method: row})

    @property
    def missing(self) -> list[str]:
        """The methods without a row, in the order in which they are run; that of the letters would give their names away."""
        return [method for method in METHODS if method in self.methods and method not in self.rows]

    @property
    def hides(self) -> bool:
        """Whether names and figures must not be seen now."""
        return self.blind and not self.revealed

    @property
    def shown(self) -> dict[str, Finished]:
        """The rows to show. Rows with hidden names come all at once, or the first would be known as the visitor's own run."""
        return {} if self.hides and self.under_way else {name: self.rows[name] for name in self.methods if name in self.rows}

    def label(self, method: str) -> str:
        """The name of a method's row: a letter while names are hidden, and with the name once they are not."""
        letter = string.ascii_uppercase[self.methods.index(method)]
        return letter if self.hides else f"{letter}: {method}" if self.blind else method

    def pick(self, label: str) -> "Comparison":
        """The comparison once a visitor finds a row best by its pictures, which reveals the names."""
        found = next((method for method in self.shown if self.label(method) == label), "")
        return replace(self, best=found, revealed=True) if found and self.hides else self


def shuffled(methods: Iterable[str], seed: int) -> tuple[str, ...]:
    """Methods in an order that depends on the seed alone, and not on their order."""
    return tuple(random.Random(seed).sample(ordered := sorted(methods), len(ordered)))


def own_recipe(run: Run, folder: Path) -> tuple[Recipe, tuple[str, str]] | None:
    """The recipe of a visitor's run, and the contents of its uploads in a folder; None if it went on from another run."""
    if run.start:
        return None
    folders = folder / "pictures", folder / "others"
    keep = "" if run.recipe.keep == str(folders[1]) else run.recipe.keep
    files = (sorted(each.iterdir()) if each.is_dir() else () for each in folders)
    return replace(run.recipe, pictures="", keep=keep), tuple(map(contents, files))


def contents(paths: Iterable[str | Path]) -> str:
    """Hash of the contents of files in their order; "" without files."""
    files = [Path(path) for path in paths]
    return digest_of(map(file_digest, files)) if files else ""


def compared_html(comparison: Comparison) -> str:
    """Pictures of all rows and, unless names are hidden, table, plot and downloads; "" while there is nothing to show."""
    rows = comparison.shown
    if not rows:
        return ""
    reports, first = [row.report for row in rows.values()], next(iter(rows.values()))
    strips = [("before", False, first.before)]
    strips += [(comparison.label(name), name == comparison.best, row.after) for name, row in rows.items()]
    common = {
        "hides": comparison.hides,
        "about": about(first.report),
        "strips": strips,
        "best": comparison.best and comparison.label(comparison.best),
        "forget": first.report["forget"],
    }
    if comparison.hides:
        return render("compare", **common)
    columns, before, cells = table_of(reports)
    label, points = costs({name: [row.report] for name, row in rows.items()})
    return render(
        "compare",
        **common,
        columns=columns,
        before=before,
        rows=[
            {"label": comparison.label(name), "title": METHODS[name].title, "cells": row}
            for name, row in zip(rows, cells, strict=True)
        ],
        plot=plot(points, label) if len(points) > 1 else "",
        front=pareto_front(points),
        ratio=label == FID,
        files={name: (kind, make(reports)) for name, (kind, make) in FILES.items()},
    )


def about(report: Report) -> str:
    """What all rows have in common, in a sentence."""
    return (
        f"{report['model']} forgets {report['forget']}: the same seeds (seed {report['seed']}) and "
        f"{report['samples']:,} samples for every method."
    )


def plot(points: Mapping[str, Point], label: str) -> Markup:
    """The plot of forget rate against cost as SVG."""
    return Markup(charts.svg(charts.pareto({"": (label, points)}), "Forget rate and cost of each method"))


Cell = dict[str, Any]  # "text", "words" in small print, "interval", and "sort": what a column is sorted by, "" for last
NOTHING: Cell = {"text": "–", "words": "", "interval": "", "sort": ""}


def table_of(reports: list[Report]) -> tuple[list[tuple[str, str]], list[Cell], list[list[Cell]]]:
    """Heads (label, meaning), cells of the untouched model, and cells of each report, without the column of names."""
    before = reports[0]["before"]
    if "ira" in before:
        kept, head, untouched = "ira", ("IRA", "other prompts drawn rightly; higher is better"), rate_cell(before, "ira")
    else:
        kept, head, untouched = (
            "retained_same_class",
            ("Same class", "seeds to keep that draw it still; higher is better"),
            NOTHING,
        )
    columns = [
        ("Forget rate", "samples that show it; lower is better"),
        ("u-FID after ÷ before", "distance to real images, 1: as before; lower is better"),
        head,
        ("Unlearning", "time without measuring, with that of a posterior"),
        ("Data seen", "by the method"),
    ]
    one = NOTHING | {"text": "1"} if before.get("retain_fid") else NOTHING
    cells = [
        [rate_cell(report["after"], "forget_rate"), ratio_cell(report), rate_cell(report["after"], kept), *facts(report)]
        for report in reports
    ]
    return columns, [rate_cell(before, "forget_rate"), one, untouched, NOTHING, NOTHING], cells


def rate_cell(figures: Figures, key: str) -> Cell:
    """A rate and its interval in percent."""
    value, ends = figures.get(key), figures.get(f"{key}_ci95")
    if value is None:
        return NOTHING
    interval = f"{ends[0]:.1%} – {ends[1]:.1%}" if ends else ""
    return NOTHING | {"text": f"{value:.1%}", "interval": interval, "sort": value}


def ratio_cell(report: Report) -> Cell:
    """u-FID after ÷ before."""
    point = point_of(report, FID)
    if point is None:
        return NOTHING
    low, high = point.cost_ends
    interval = f"{low:.2f} – {high:.2f}" if low < high else ""
    return NOTHING | {"text": f"{point.cost:.2f}", "interval": interval, "sort": point.cost}


def facts(report: Report) -> list[Cell]:
    """The seconds that a method took, and the data that it saw, sorted by the number of images."""
    seconds, words = method_seconds(report), "; ".join(data_seen(report)) or "prompts alone"
    return [
        NOTHING | {"text": f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s", "sort": seconds},
        NOTHING | {"text": "", "words": words, "sort": sum(report["images_seen"].values())},
    ]

"""A few settings of methods on one model and class, the same number for each: `python -m vdu bench tune`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vdu.bench.quality import row_for
from vdu.bench.tables import Row, check_place, read_rows, table, write_between
from vdu.errors import UserError
from vdu.models import SMALL, UNCONDITIONAL
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of

Changes = dict[str, Any]
GONE, FAIR = 0.02, 2.0  # forget rate and u-FID ratio of a setting that is good enough, see `choose`


def grid(gammas: Sequence[float], step_sizes: Sequence[float]) -> tuple[Changes, ...]:
    """Settings to try, the first of which are tried if there is time for no more."""
    return tuple({"step_size": step_size, "gamma": gamma} for gamma, step_size in zip(gammas, step_sizes, strict=True))


# Method -> kind of model -> its settings, in the order in which they are tried. The first, and the second with prompts, were
# set beforehand; the others follow a look at the earlier ones: further where little was forgotten, gentler where much broke.
TRIED: dict[str, dict[str, tuple[Changes, ...]]] = {
    "fine-tune": {UNCONDITIONAL: grid([0, 0, 0], [2e-4, 5e-4, 1e-3]), SMALL: grid([0, 0, 0], [1e-3, 3e-3, 1e-2])},
    "siss": {UNCONDITIONAL: grid([0.9, 0.9, 0.9], [1e-4, 3e-4, 2e-4]), SMALL: grid([0.9, 0.5, 0.5], [1e-3, 1e-3, 2e-3])},
    "sfr-on": {UNCONDITIONAL: grid([0.5, 0.5, 0.5], [1e-4, 3e-4, 2e-4]), SMALL: grid([0.5, 0.9, 0.75], [1e-3, 1e-3, 1e-3])},
    "selective-amnesia": {
        UNCONDITIONAL: grid([0.5, 0.9, 0.9], [1e-4, 1e-4, 3e-4]),
        SMALL: grid([0.5, 0.9, 0.5], [1e-3, 1e-3, 3e-3]),
    },
    "pbu": {UNCONDITIONAL: grid([1e-3, 1e-2, 0.1], [1e-4, 3e-5, 1e-4]), SMALL: grid([1e-3, 1e-2, 1e-5], [1e-3, 1e-3, 1e-3])},
    "dimum": {UNCONDITIONAL: grid([0.5, 0.8, 0.65], [2e-4, 2e-4, 3e-4]), SMALL: grid([0.5, 0.5, 0.8], [1e-3, 3e-3, 1e-3])},
}
HEAD = ("method", "step size", "gamma", "forget rate [95 %]", "u-FID ratio", "least kept share", "IRA", "CRA", "scale",
        "chosen")  # fmt: skip


def tune(
    methods: list[str],
    model: str,
    forget: str,
    budget: int,
    samples: int,
    target: Path,
    show: Callable[[str], None],
    page: Path | None = None,
) -> None:
    """Run the first `budget` settings of each method, seed 0; print a Markdown table and the settings chosen.

    Rows already in `target` with the same recipe are reused. The table is also written between the model's marks in `page`.

    Raises:
        UserError: before anything is computed, for a method without settings for the model, if `target` is no such table, or
            if `page` lacks the marks.
    """
    marks = f"<!-- tune {model} -->", f"<!-- /tune {model} -->"
    if page:
        check_place(page, marks)
    known, kind = read_rows(target), kind_of(model)
    for method in methods:
        if kind not in TRIED[method]:
            raise UserError(f"There are no settings of {method} to try on '{model}'; choose mnist-ddpm or tiny-sd.")
    found: dict[str, list[Row]] = {method: [] for method in methods}
    for place in range(budget):  # the outer loop, so that an interrupted table is fair to all methods
        for method in methods:
            for changes in TRIED[method][kind][place : place + 1]:
                values = {"model": model, "forget": forget, "samples": samples, "method": method}
                recipe = resolve(Recipe.from_dict(values | changes), kind)
                found[method].append(row_for(recipe, known, target, show))
    words = summary(found)
    print(words)
    if page:
        write_between(page, marks, words)


def choose(rows: Sequence[Row]) -> Row:
    """The best of a method's rows.

    It is the one with the lowest u-FID ratio among those with a forget rate of at most `GONE`. If there is none, it is the one
    with the lowest forget rate among those with a u-FID ratio of at most `FAIR`, and then the one with the lowest of all.
    """
    if gone := [row for row in rows if row["forget_rate"] <= GONE]:
        return min(gone, key=lambda row: row["u_fid_ratio"])
    return min([row for row in rows if row["u_fid_ratio"] <= FAIR] or rows, key=lambda row: row["forget_rate"])


def summary(found: dict[str, list[Row]]) -> str:
    """A Markdown table with a line per run."""
    lines = []
    for method, rows in found.items():
        for row in rows:
            low, high = row["forget_rate_ci95"]
            lines.append([
                method, f"{row['recipe']['step_size']:g}", f"{row['recipe']['gamma']:g}",
                f"{row['forget_rate']:.1%} [{low:.1%}–{high:.1%}]", f"{row['u_fid_ratio']:.2f}", f"{row['least_ratio']:.2f}",
                *(f"{row[name]:.0%}" if name in row else "–" for name in ("ira", "cra")),
                f"{row['scale']:g}", "yes" if row is choose(rows) else "",
            ])  # fmt: skip
    return table([*HEAD], lines)

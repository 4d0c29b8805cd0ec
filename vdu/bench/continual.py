"""Forget one thing after another, and everything at once: `python -m vdu bench continual`.

Each request starts from the model that the last one made. What was forgotten must stay forgotten, and damage to the rest adds
up; both are measured against the original model, from the same seeds.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vdu.bench.tables import Row, read_rows, run_recipe, table, write_rows
from vdu.errors import UserError
from vdu.export import write_run
from vdu.metrics import rate
from vdu.models import PHOTOGRAPHS, UNCONDITIONAL
from vdu.optimizers import GUIDANCE
from vdu.recipe import Recipe, resolve
from vdu.run import Run
from vdu.samples import Samples
from vdu.task import kind_of, open_task

# Figures of the damage to the retained classes.
CHANGES = ("retained_drift", "retained_same_class", "retained_same_class_ci95", "retained_share_tv", "least_retained_ratio",
           "least_retained_class")  # fmt: skip
HEAD = ("requests", "forget rate of each [95 %]", "u-FID of the rest ÷ the original's", "seeds of the rest that draw the same",
        "drift", "clear", "steps, scale")  # fmt: skip


def continual(recipe: Recipe, forgets: list[str], target: Path, show: Callable[[str], None]) -> None:
    """Carry out requests in turn, then all of them at once; print a Markdown table and write its rows as JSON.

    Args:
        recipe: the recipe of every request, apart from `forget`; its model takes no prompts.
        forgets: what to forget, in order; at least two.
        target: JSON file to write.
        show: called with one line per request.

    Raises:
        UserError: if there are fewer than two requests, or the model takes prompts or has no real images to compare with.
    """
    if len(forgets) < 2:
        raise UserError("Give at least two requests, such as --forget 3 8.")
    if resolve(recipe, kind_of(recipe.model)).optimizer == GUIDANCE:
        raise UserError(f"{recipe.method} leaves the weights as they are, so nothing can follow; choose another method.")
    read_rows(target)  # fails if the file is something else
    known = kind_of(recipe.model) in (UNCONDITIONAL, PHOTOGRAPHS)
    task = open_task(replace(recipe, forget=", ".join(forgets))) if known else None
    if task is None or not task.reference.statistics:
        raise UserError(f"'{recipe.model}' cannot be measured here; choose a catalog model that takes no prompts.")
    task.concept.plan(1)  # fails now, not after hours, if the classes together are no valid request
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        start, original = "", None
        for place, forget in enumerate([*forgets, ", ".join(forgets)]):
            last = place == len(forgets)
            run = run_recipe(replace(recipe, forget=forget), "" if last else start)
            report = write_run(run, Path(scratch) / str(place))
            start, original = str(Path(scratch) / str(place) / "unlearned"), original or run.before
            names = forgets if last else forgets[: place + 1]
            requests = "all at once: " + ", ".join(names) if last else " → ".join(names)
            rows.append({"requests": requests, **row_of(run, names, original),
                         "steps": report["steps_taken"], "scale": report["scale"], "seconds": report["seconds"],
                         "recipe": report["recipe"]})  # fmt: skip
            write_rows(rows, target)
            show(f"{requests}: {report['stopped_because']}")
    print(summary(rows))


def row_of(run: Run, names: list[str], original: Samples) -> Row:
    """The figures after the requests so far, compared with the original model."""
    now, concept = run.after, run.task.concept
    before, after = run.task.measure(original), run.task.measure(now, original)
    rates = {name: rate("forget_rate", now.showing(concept.class_sets_of(name))) for name in names}
    return {
        "forget_rates": {name: (found["forget_rate"], *found["forget_rate_ci95"]) for name, found in rates.items()},
        "samples": len(now.images),
        "u_fid_before": before["retain_fid"],
        "u_fid": after["retain_fid"],
        "confident": after["confident"],
        **{name: after[name] for name in CHANGES if name in after},
    }


def summary(rows: list[Row]) -> str:
    """A Markdown table with one line per request."""
    lines = []
    for row in rows:
        rates = [f"{name}: {share:.1%} [{low:.1%}–{high:.1%}]" for name, (share, low, high) in row["forget_rates"].items()]
        low, high = row["retained_same_class_ci95"]
        lines.append([
            row["requests"], ", ".join(rates), f"{row['u_fid'] / row['u_fid_before']:.2f}",
            f"{row['retained_same_class']:.1%} [{low:.1%}–{high:.1%}]", f"{row['retained_drift']:.2f}",
            f"{row['confident']:.1%}", f"{row['steps']}, {row['scale']:g}",
        ])  # fmt: skip
    return table(list(HEAD), lines)

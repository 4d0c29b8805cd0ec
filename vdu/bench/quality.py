"""Forget rate and cost of several settings, over classes and seeds: `python -m vdu bench quality`."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdu.bench import photographs
from vdu.bench.cells import digests
from vdu.bench.tables import (
    Row,
    check_requests,
    load_charts,
    mean_over_runs,
    pooled_rate,
    read_rows,
    save,
    span,
    table,
    write_rows,
)
from vdu.errors import UserError
from vdu.recipe import Recipe, resolve
from vdu.report import report_of
from vdu.run import Run
from vdu.summary import method_seconds
from vdu.task import kind_of
from vdu.unlearn import unlearn

# The bar for one run of the default recipe: figure -> (limit, whether smaller is better).
BAR = {"forget_rate": (0.02, True), "u_fid_ratio": (1.5, True), "least_ratio": (0.5, False), "unlearn_s": (40.0, True)}
PROMPTED_BAR = {  # for models that take prompts
    "forget_rate": (0.02, True),
    "paraphrase_rate": (0.05, True),
    "ira_ratio": (0.97, False),
    "cra_ratio": (0.97, False),
    "unlearn_s": (30.0, True),
}


@dataclass(frozen=True)
class Setting:
    """One line of a table: its title and its changes to the default recipe."""

    words: str
    changes: dict[str, Any]


COMPARED: dict[str, Setting] = {
    "default": Setting("The default", {}),
    "few": Setting("The default, 32 forget images", {"forget_images": 32}),
    "eight": Setting("The default, 8 forget images", {"forget_images": 8}),
    "none": Setting("The default, no real image: the model's own", {"forget_source": "model"}),
    "vdu": Setting("VDU, the paper's loss", {"method": "vdu"}),
    "one-step": Setting(
        "VDU, linearised: one averaged gradient",
        {"method": "vdu", "optimizer": "one-step", "posterior": "fisher", "gamma": 0.02},
    ),
    "neggrad": Setting("NegGrad: ascent alone", {"method": "neggrad"}),
}
# For models that take prompts.
PROMPTED = {"uce": Setting("UCE: closed form, from prompts alone", {"method": "uce"})}
# Ablation of the paper's loss: posterior x optimizer x window of timesteps. Each run has 400 steps of 24 images, which cost
# as much as the default's 150 steps of 48 + 48; step sizes and gammas are the best of two to four, tried on digit 4, or for
# `kronecker` on digit 3.
TUNED: dict[str, dict[str, dict[str, float]]] = {
    "checkpoints": {"natural": {"step_size": 1e-4}, "adam": {"step_size": 1e-5}, "one-step": {"gamma": 0.7}},
    "fisher": {
        "natural": {"step_size": 0.02, "gamma": 0.02},
        "adam": {"step_size": 1e-5, "gamma": 0.02},
        "one-step": {"gamma": 0.01},
    },
    "swag": {"natural": {"step_size": 2e-5}, "adam": {"step_size": 1e-5}, "one-step": {"gamma": 0.95}},
    "isotropic": {"natural": {"step_size": 3e-4}, "adam": {"step_size": 1e-5}, "one-step": {"gamma": 0.7}},
    "kronecker": {"one-step": {"gamma": 1e-3}},  # its factors are for averaged gradients: noisy steps go wrong with them
}
WINDOWS = {"": {}, "-everywhere": {"t_min": 0, "t_max": 999}}
ABLATION: dict[str, Setting] = {
    **{
        f"{posterior}-{optimizer}{where}": Setting(
            f"VDU, {posterior}, {optimizer}" + (", all timesteps" if where else ""),
            {"method": "vdu", "posterior": posterior, "optimizer": optimizer, "steps": 400, "preview_every": 100}
            | tuned
            | window,
        )
        for posterior, optimizers in TUNED.items()
        for optimizer, tuned in optimizers.items()
        for where, window in WINDOWS.items()
    },
    "vdu-f": Setting("VDU-F", {"method": "vdu-f"}),
    "vdu-f-everywhere": Setting("VDU-F, all timesteps", {"method": "vdu-f"} | WINDOWS["-everywhere"]),
    "vdu-f-bayes": Setting("VDU-F, reach 1: Bayes' rule to the letter", {"method": "vdu-f", "reach": 1.0}),
}
SETTINGS = COMPARED | PROMPTED | ABLATION
HEADER = (
    f"{'setting':<30} forget seed | before   after  95 % interval | u-FID before  after  ratio  floor | least kept | TV    "
    "| drift | steps scale    s"
)


def row_of(report: dict[str, Any]) -> Row:
    """A table's row, from a report."""
    before, after = report["before"], report["after"]
    return {
        "forget": report["forget"],
        "seed": report["seed"],
        "samples": report["samples"],
        "forget_rate_before": before["forget_rate"],
        "forget_rate": after["forget_rate"],
        "forget_rate_ci95": after["forget_rate_ci95"],
        "u_fid_before": before["retain_fid"],
        "u_fid": after["retain_fid"],
        "u_fid_ratio": after["retain_fid"] / before["retain_fid"],
        "u_fid_floor": after["retain_fid_floor"],
        "confident_before": before["confident"],
        "confident": after["confident"],
        "least_ratio": after["least_retained_ratio"],
        "least_class": after["least_retained_class"],
        "share_tv": after["retained_share_tv"],
        "drift": after["retained_drift"],
        "steps": report["steps_taken"],
        "scale": report["scale"],
        "stopped_because": report["stopped_because"],
        "unlearn_s": method_seconds(report),
        "seconds": report["seconds"],
        "device": report["device"],
        "target_samples": before["target_samples"],
        **(prompt_figures(before, after) if "ira" in before else {}),
    }


def prompt_figures(before: dict[str, Any], after: dict[str, Any]) -> Row:
    """Further figures of a model that takes prompts; a model with one axis has no CRA."""
    row = {name: after[name] for name in ("paraphrase_rate", "paraphrase_rate_n", "cra_target") if name in after}
    for name in ("instead_rate", "unprompted_rate"):
        row |= {f"{name}_before": before[name], name: after[name]}
    for name in (name for name in ("ira", "cra") if name in after):
        row |= {f"{name}_before": before[name], name: after[name], f"{name}_ratio": after[name] / max(before[name], 1e-9)}
    return row


def line_of(setting: str, row: Row) -> str:
    """A run as one line of text."""
    low, high = row["forget_rate_ci95"]
    floor = math.nan if row["u_fid_floor"] is None else row["u_fid_floor"]
    return (
        f"{setting:<30} {row['forget']:>6} {row['seed']:>4} | {row['forget_rate_before']:6.1%} {row['forget_rate']:7.2%}  "
        f"[{low:.2%}–{high:.2%}] | {row['u_fid_before']:12.3f} {row['u_fid']:6.3f} {row['u_fid_ratio']:6.2f} "
        f"{floor:6.3f} | {row['least_ratio']:.2f} ({row['least_class']}){'':2} | {row['share_tv']:.3f} | "
        f"{row['drift']:.3f} | {row['steps']:5} {row['scale']:5g} {row['unlearn_s']:4.0f}"
    ) + (
        f" | other words {row['paraphrase_rate']:.1%}, left open {row['instead_rate_before']:.1%} → "
        f"{row['instead_rate']:.1%}, no prompt {row['unprompted_rate_before']:.1%} → "
        f"{row['unprompted_rate']:.1%}, IRA {row['ira_before']:.1%} → {row['ira']:.1%}"
        + (f", CRA {row['cra_before']:.1%} → {row['cra']:.1%} (target {row['cra_target']:.1%})" if "cra" in row else "")
        if "ira" in row
        else ""
    )


def misses(row: Row) -> list[str]:
    """The figures of a row that miss their limit."""
    bar, _ = FORMS[form_of([row])]
    return [name for name, (limit, small) in bar.items()
            if name in row and (row[name] > limit if small else row[name] < limit)]  # fmt: skip


def quality(
    settings: list[str],
    model: str,
    forgets: list[str],
    seeds: list[int],
    samples: int,
    target: Path,
    show: Callable[[str], None],
    plots: Path | None = None,
) -> None:
    """Run every class and seed in every setting; print one line per run, then two Markdown tables, and write the rows as JSON.

    Rows already in `target` with the same recipe are reused, so that a long table can be made in parts. If given, `plots` is
    the PNG to draw forget rate and cost in.

    Raises:
        UserError: before anything is computed, if the model cannot forget one of the classes, `target` holds something else,
            or `plots` cannot be drawn.
    """
    charts = load_charts(plots) if plots else None
    known = read_rows(target)
    check_requests(model, forgets)
    tables: dict[str, list[Row]] = {}
    print(HEADER, flush=True)
    for setting in settings:
        for seed in seeds:  # the outer loop, so that an interrupted table has every class
            for forget in forgets:
                changes = {"model": model, "forget": forget, "seed": seed, "samples": samples}
                row = row_for(Recipe.from_dict(changes | SETTINGS[setting].changes), known, target, show)
                tables.setdefault(setting, []).append(row)
                print(line_of(setting, row) + "".join(f"  MISSES {name}" for name in misses(row)), flush=True)
    if charts:
        runs = {
            SETTINGS[key].words: [(row["forget_rate"], row["u_fid_ratio"]) for row in rows] for key, rows in tables.items()
        }
        save(charts.trade_off(runs), plots)
    print("\n" + settings_table(tables) + "\n\n" + classes_table(tables[settings[0]]))


def row_for(recipe: Recipe, known: list[Row], target: Path, show: Callable[[str], None]) -> Row:
    """The row of a recipe: from `known`, if it is of the same weights, or else from a new run, added there and to `target`.

    Raises:
        UserError: if the model has no real images to compare with.
    """
    recipe = resolve(recipe, kind_of(recipe.model))
    digest = digests([recipe], "")[recipe.model]
    for row in [row for row in known if row["recipe"] == recipe.to_dict()]:
        if row.get("model_digest") == digest:
            return row
        known.remove(row)  # of other weights
    run = Run(recipe)
    if not run.task.reference.statistics:
        raise UserError(f"'{recipe.model}' has no real images to compare with; use `python -m vdu unlearn`.")
    for _ in unlearn(run):
        pass
    report = report_of(run)
    reference = run.task.reference
    # Without prompts and with one class to forget, one of the others is most like it.
    alone = reference.second and report["forget"] in reference.statistics and not run.model.takes_prompts
    further = photographs.photograph_figures(run, report) if alone else {}
    known.append(row_of(report) | further | {"recipe": recipe.to_dict(), "model_digest": digest})
    write_rows(known, target)
    show(known[-1]["stopped_because"])
    return known[-1]


def settings_table(tables: dict[str, list[Row]]) -> str:
    """A Markdown table with one line per setting, over all of its runs."""
    if write := FORMS[form_of(row for rows in tables.values() for row in rows)][1]:
        return write({SETTINGS[key].words: rows for key, rows in tables.items()}, "setting")
    head = ["setting", "runs × n", "forget rate [95 %]", "worst run", "u-FID after ÷ before: mean [95 %]", "worst",
            "least kept share", "shares moved (TV)", "unlearning", "meet the bar"]  # fmt: skip
    lines = []
    for setting, rows in tables.items():
        ratios, seconds = [row["u_fid_ratio"] for row in rows], [row["unlearn_s"] for row in rows]
        lines.append([
            SETTINGS[setting].words, f"{len(rows)} × {rows[0]['samples']:,}", pooled_rate(rows),
            f"{max(row['forget_rate'] for row in rows):.1%}", mean_over_runs(ratios), f"{max(ratios):.2f}",
            f"{min(row['least_ratio'] for row in rows):.2f}", f"{statistics.fmean(row['share_tv'] for row in rows):.3f}",
            span(seconds), f"{sum(not misses(row) for row in rows)} of {len(rows)}",
        ])  # fmt: skip
    return table(head, lines)


def classes_table(rows: list[Row]) -> str:
    """A Markdown table with one line per class, over its seeds."""
    if write := FORMS[form_of(rows)][1]:
        return write(by_class(rows), "forget")
    head = ["forget", "forget rate before", "after [95 %]", "worst seed", "u-FID after ÷ before: mean, worst",
            "least kept share", "shares moved (TV)"]  # fmt: skip
    lines = []
    for forget, here in by_class(rows).items():
        ratios, worst = [row["u_fid_ratio"] for row in here], min(here, key=lambda row: row["least_ratio"])
        lines.append([
            forget, f"{statistics.fmean(row['forget_rate_before'] for row in here):.1%}", pooled_rate(here),
            f"{max(row['forget_rate'] for row in here):.1%}", f"{statistics.fmean(ratios):.2f}, {max(ratios):.2f}",
            f"{worst['least_ratio']:.2f} ({worst['least_class']})", f"{statistics.fmean(row['share_tv'] for row in here):.3f}",
        ])  # fmt: skip
    return table(head, lines)


def by_class(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each class."""
    return {name: [row for row in rows if row["forget"] == name] for name in dict.fromkeys(row["forget"] for row in rows)}


def of_photographs(tables: dict[str, list[Row]], title: str) -> str:
    """`photographs.photographs_table` with the rows that meet the bar counted."""
    meets = {name: sum(not misses(row) for row in rows) for name, rows in tables.items()}
    return photographs.photographs_table(tables, title, meets)


def prompted_table(tables: dict[str, list[Row]], title: str) -> str:
    """A Markdown table with one line per group of runs, for models that take prompts."""
    head = [title, "runs × n", "forget rate [95 %]", "worst run", "in other words [95 %]", "left open", "no prompt",
            "IRA before → after, worst ratio", "CRA before → after, worst ratio", "u-FID after ÷ before", "unlearning",
            "meet the bar, time not counted"]  # fmt: skip
    lines = []
    for name, rows in tables.items():

        def moved(figure: str, rows: Sequence[Row] = rows) -> str:
            return " → ".join(f"{statistics.fmean(row[key] for row in rows):.1%}" for key in (f"{figure}_before", figure))

        def kept(figure: str, rows: Sequence[Row] = rows) -> str:
            if not (known := [row for row in rows if figure in row]):  # a concept on every axis of its model has no CRA
                return "–"
            return f"{moved(figure, known)}, {min(row[f'{figure}_ratio'] for row in known):.3f}"

        seconds = [row["unlearn_s"] for row in rows]
        lines.append([
            name, f"{len(rows)} × {rows[0]['samples']:,}", pooled_rate(rows), f"{max(row['forget_rate'] for row in rows):.1%}",
            pooled_rate(rows, "paraphrase_rate", "paraphrase_rate_n"), moved("instead_rate"), moved("unprompted_rate"),
            kept("ira"), kept("cra"),
            mean_over_runs([row["u_fid_ratio"] for row in rows]), span(seconds),
            f"{sum(misses(row) in ([], ['unlearn_s']) for row in rows)} of {len(rows)}",
        ])  # fmt: skip
    return table(head, lines)


# A figure that all rows have -> the bar for a run, and what writes their table; "" for all other rows.
FORMS: dict[str, tuple[Mapping[str, tuple[float, bool]], Callable[[dict[str, list[Row]], str], str] | None]] = {
    "ira": (PROMPTED_BAR, prompted_table),
    "excess": (photographs.BAR, of_photographs),
    "": (BAR, None),
}


def form_of(rows: Iterable[Row]) -> str:
    """The key in `FORMS` for some rows."""
    rows = list(rows)
    return next((figure for figure in FORMS if figure and all(figure in row for row in rows)), "")

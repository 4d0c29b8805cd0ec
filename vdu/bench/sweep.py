"""Methods, models, targets, settings and seeds, as a file combines them: `python -m vdu sweep FILE --out DIR`."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from vdu.bench.cells import (
    TABLES,
    Cell,
    Executor,
    check,
    digests,
    read_lines,
    read_reports,
    refuse_twins,
    run_missing,
    written,
)
from vdu.bench.grid import Planned, Sweep, find, read_sweep
from vdu.bench.sweep_file import SETTING
from vdu.bench.tables import load_charts, mean_over_runs, save, span, table
from vdu.comparison import COSTS, cells, columns, costs, measured
from vdu.errors import UserError
from vdu.estimate import Pace
from vdu.metrics import Figures, Metric, pooled
from vdu.recipe import FIELDS, Recipe
from vdu.report import Report
from vdu.summary import headline, method_seconds

Finished = list[tuple[Planned, Report]]
Say = Callable[[str], None]
TARGET = ("model", "forget", "keep", "pictures", "judge")  # fields that say what is forgotten
DRAWING = ("samples", "sampler_steps", "sampler", "guidance")  # figures are comparable only where these are the same
ALWAYS = ("model", "forget", "method", "seed")  # columns of results.csv, whether they vary or not
NAMED = 12  # targets in a heading at most
INTERVALS = """Intervals are of 95 %: Wilson's over all samples of a row for rates that are counted, otherwise Student's of the
mean over three or more runs; fewer runs are given one by one. Targets of one model share the seeds of its samples before, so
over several targets the line "(before)" has means without intervals."""


def sweep(name: str, folder: Path, executor: Executor, say: Say) -> Path:
    """Run the cells of a file that have no report yet, and write the tables after each; a stopped sweep is resumed.

    Args:
        name: the file, or a preset.
        folder: where to write results.jsonl (one report per line), results.csv, results.md and pareto.png.
        executor: runs the cells.
        say: called with a line per finished cell.

    Returns:
        the path of results.md.

    Raises:
        UserError: before anything is computed, if the file or one of its cells is impossible, or the folder holds other
            files; at the end, if a cell failed, which does not keep the others from being run.
    """
    load_charts()  # fails now, not after hours, if matplotlib is missing
    read = read_sweep(find(name))
    asked = to_run(read, executor.device)
    earlier = read_reports(folder)
    look(read, [cell for cell in asked if not cell.find(earlier)], executor.device)
    done, failed = sum(cell.find(earlier) is not None for cell in asked), {}
    if done:
        say(f"{done} of {len(asked)} cells are finished already")
    for cell, outcome in run_missing(asked, earlier, folder, executor):
        done += 1
        if isinstance(outcome, UserError):
            failed[cell.name] = outcome
        said = f"failed: {outcome}" if isinstance(outcome, UserError) else headline(outcome)
        say(f"{done}/{len(asked)} {cell.name}: {said}")
        write_finished(read, asked, failed, folder, drawn=False)
    write_finished(read, asked, failed, folder)
    if failed:
        first, why = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(asked)} cells failed ({first}: {why}) The same command tries them again.")
    return folder / "results.md"


def write_finished(read: Sweep, asked: Sequence[Cell], failed: dict[str, UserError], folder: Path, drawn: bool = True) -> None:
    """Write the tables of the cells that have a report, if there is one: a long sweep can be read while it runs.

    Args:
        read, asked, failed, folder: see `sweep`; `asked` has a cell for each that was planned.
        drawn: whether pareto.png is drawn too, which takes longer than the rest.

    Raises:
        UserError: if they cannot be written.
    """
    reports = read_lines(folder)
    found = [(planned, cell.find(reports)) for planned, cell in zip(read.planned, asked, strict=True)]
    if finished := [(planned, report) for planned, report in found if report]:
        with written(folder, *TABLES):
            write_tables(read, finished, failed, folder)
            if drawn:
                draw_fronts(read, finished, folder)


def to_run(read: Sweep, device: str) -> list[Cell]:
    """The cells of a file with the digests of their models.

    Raises:
        UserError: if there is no such model, or a cell is there twice; the sentence names the file.
    """
    try:
        of_models = digests([planned.recipe for planned in read.planned], device)
        cells = [Cell(planned.recipe, of_models[planned.recipe.model], planned.name) for planned in read.planned]
        refuse_twins(cells)
    except UserError as error:
        raise UserError(f"{read.path}: {error}") from error
    return cells


def look(read: Sweep, asked: Sequence[Cell], device: str) -> None:
    """Look whether all cells can be run. This does not depend on the seed, so only one seed is looked at.

    Raises:
        UserError: if one cannot be run; the sentence names the file and the cell.
    """
    distinct = {repr(cell.recipe.to_dict() | {"seed": 0}): cell for cell in reversed(asked)}
    for cell in reversed(distinct.values()):
        try:
            check(cell, device)
        except UserError as error:
            raise UserError(f"{read.path}: cell {cell.name}: {error}") from error


def list_cells(name: str, device: str, say: Say) -> None:
    """Say which cells a file has, and how long they would take here, without running them.

    Raises:
        UserError: if the file or one of its cells is impossible.
    """
    read = read_sweep(find(name))
    look(read, to_run(read, device), device)
    for planned in read.planned:
        say(planned.name)
    seconds = [Pace().seconds(planned.recipe) for planned in read.planned]
    hours = f", about {sum(seconds) / 3600:.1f} h one after another on two cores" if None not in seconds else ""
    say(f"{len(read.planned)} cells{hours}")


def write_tables(read: Sweep, finished: Finished, failed: dict[str, UserError], folder: Path) -> None:
    """Write results.csv and results.md."""
    write_csv(finished, folder / "results.csv")
    parts = {title: rows_of(read, part) for title, part in sections(finished).items()}
    texts = [f"{len(finished)} of {len(read.planned)} cells of {read.path.name}. {INTERVALS}"]
    texts += [f"## {title}\n\n{section_table(read, rows)}" for title, rows in parts.items()]
    if failed:
        texts.append("## Failed\n\n" + "\n".join(f"- {name}: {error}" for name, error in failed.items()))
    (folder / "results.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def draw_fronts(read: Sweep, finished: Finished, folder: Path) -> None:
    """Draw pareto.png."""
    panels = {
        title: costs({" ".join(filter(None, key)): runs for key, runs in rows_of(read, part).items()})
        for title, part in sections(finished).items()
    }
    save(load_charts().pareto(panels), folder / "pareto.png")


def write_csv(finished: Finished, path: Path) -> None:
    """Write a row per cell: its fields as far as they vary, and every metric after, with its interval, and before."""
    metrics = measured([report for _, report in finished])
    recipes = [planned.recipe.to_dict() for planned, _ in finished]
    varied = [name for name in FIELDS if len({repr(recipe[name]) for recipe in recipes}) > 1]
    fields = list(dict.fromkeys([*ALWAYS, *varied]))
    settings = any(planned.setting for planned, _ in finished)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        names = [name for metric in metrics for name in (*columns(metric), f"{metric.key}_before")]
        rows.writerow([*([SETTING] if settings else []), *fields, "scale", "steps_taken", "seconds", *names])
        for (planned, report), recipe in zip(finished, recipes, strict=True):
            values = [
                value for metric in metrics for value in (*cells(metric, report["after"]), cells(metric, report["before"])[0])
            ]
            facts = report["scale"], report["steps_taken"], method_seconds(report)
            head = [planned.setting] if settings else []
            rows.writerow([*head, *(recipe[name] for name in fields), *facts, *values])


def sections(finished: Finished) -> dict[str, Finished]:
    """Title -> cells whose figures can be compared: of the same model, drawn in the same way."""
    parts: dict[tuple[Any, ...], Finished] = {}
    for planned, report in finished:
        parts.setdefault(tuple(getattr(planned.recipe, name) for name in ("model", *DRAWING)), []).append((planned, report))
    return {section_title(part): part for part in parts.values()}


def section_title(part: Finished) -> str:
    """Model, targets and sampler of a section."""
    recipe = part[0][0].recipe
    names = list(dict.fromkeys(report["forget"] for _, report in part))
    targets = ", ".join(names) if len(names) <= NAMED else f"{len(names)} targets"
    guidance = f", guidance {recipe.guidance:g}" if recipe.guidance > 1 else ""
    return (
        f"{recipe.model}: {targets} ({recipe.samples:,} samples, {recipe.sampler} in {recipe.sampler_steps} steps{guidance})"
    )


def rows_of(read: Sweep, part: Finished) -> dict[tuple[str, ...], list[Report]]:
    """Row of a table, as the texts of its first columns -> its runs: all targets and seeds."""
    rows: dict[tuple[str, ...], list[Report]] = {}
    for planned, report in part:
        others = (f"{name} {value_text(planned.recipe, name)}" for name in further(read))
        rows.setdefault((planned.recipe.method, planned.setting, *others), []).append(report)
    return rows


def further(read: Sweep) -> list[str]:
    """The fields that tell rows of a table apart beside method and setting."""
    return [name for name in read.varied if name not in (*TARGET, *DRAWING, "method", "seed")]


def value_text(recipe: Recipe, name: str) -> str:
    """A field's value in a table."""
    value = getattr(recipe, name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def section_table(read: Sweep, rows: dict[tuple[str, ...], list[Report]]) -> str:
    """A Markdown table with a line for the untouched model, and one per row."""
    every = [report for runs in rows.values() for report in runs]
    metrics = [metric for metric in measured(every) if any(run["after"].get(metric.key) is not None for run in every)]
    distinct = list({(report["forget"], report["seed"]): report for report in every}.values())
    ratio_label, ratio_of = next(iter(COSTS.items()))
    lines = []
    for key, runs in {("(before)",): distinct, **rows}.items():
        side = "before" if key == ("(before)",) else "after"
        ratios = [] if side == "before" else [ratio_of(run["before"], run["after"]) for run in runs]
        known = [ratio for ratio in ratios if ratio is not None]
        befores, shown = [run["before"] for run in runs], [run[side] for run in runs]
        same_seeds = side == "before" and len({report["seed"] for report in runs}) < len(runs)
        lines.append([
            " ".join(filter(None, key)), f"{len(runs)} × {runs[0]['samples']:,}",
            *(plain_mean(metric, shown) if same_seeds else over_runs(metric, shown, befores) for metric in metrics),
            mean_over_runs(known) if known else "–",
            "–" if side == "before" else span([method_seconds(run) for run in runs]),
        ])  # fmt: skip
    head = " ".join(["method", *([SETTING] if any(len(key) > 1 and key[1] for key in rows) else []), *further(read)])
    return table([head, "runs × n", *(metric.label for metric in metrics), ratio_label, "unlearning"], lines)


def plain_mean(metric: Metric, runs: Sequence[Figures]) -> str:
    """A metric's mean over runs whose samples are the same in part, as text without an interval; "–" if it is not known."""
    known = [figures[metric.key] for figures in runs if figures.get(metric.key) is not None]
    return metric.format.format(fmean(known)) if known else "–"


def over_runs(metric: Metric, runs: Sequence[Figures], before: Sequence[Figures]) -> str:
    """A metric over runs, as text: over all samples if it is counted, else the mean of three or more, or one or two.

    Args:
        runs: the figures; before: those of the untouched models, in the same order.
    """
    chosen = [place for place, figures in enumerate(runs) if figures.get(metric.key) is not None]
    known = [runs[place] for place in chosen]
    some = f" ({len(known)} of {len(runs)} runs)" if 0 < len(known) < len(runs) else ""
    if len(known) > 1:
        whole = metric.pool([before[place] for place in chosen], known) if metric.pool else pooled(metric.key, known)
        if whole and whole[metric.key] is not None:
            return metric.text(whole) + some
    if len(known) > 2:
        return mean_over_runs([figures[metric.key] for figures in known], metric.format, metric.bounds) + some
    return ("; ".join(metric.text(figures) for figures in known) or "–") + some

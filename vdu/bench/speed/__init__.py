"""`python -m vdu bench speed`: how long runs and starts take, against an older revision on the same machine.

Both builds take turns, every process is fresh, and none finds what an earlier one has cached: a run is timed as the first ever
on its machine.
"""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vdu.bench.speed import kernels
from vdu.bench.speed.cases import CASES
from vdu.bench.speed.processes import first_page, neighbour, timed, unlearn
from vdu.bench.speed.rows import QUALITY, Pair, Ran, Row, kernel_rows, median, quality_cells, run_rows, start_rows
from vdu.bench.speed.trees import ROOT, Tree, both_trees, check_imports
from vdu.bench.tables import check_place, table, write_between

MARKS = "<!-- speed: the tables below are made by `python -m vdu bench speed` -->", "<!-- /speed -->"
KERNELS = ("digit", "word")  # cases whose models' kernels are timed

Trees = tuple[Tree, Tree]
Show = Callable[[str], object]


def speed(
    revision: str,
    cases: Sequence[str],
    samples: int,
    repeats: int,
    seed: int,
    busy: bool,
    show: Show,
    out: Path | None = None,
    root: Path = ROOT,
) -> None:
    """Measure all, print the tables, and write them between the marks of a page.

    Args:
        revision: of git, the older build.
        cases: of `CASES`; samples: of their runs, before and after.
        repeats: of every run and start, for either build; seed: of the first run, from which the next ones count on.
        busy: also repeat the present build's runs beside a busy process; older builds may take ten times as long there.
        show: gets a line after every process; out: the page, if any; root: of the checkout that is the present build.

    Raises:
        UserError: if the page has no marks, there is no such revision, or a build fails.
    """
    if out is not None:
        check_place(out, MARKS)
    with both_trees(revision, root) as trees:
        check_imports(trees)
        starts = time_starts(trees, repeats, show)
        runs = [
            ran
            for case in cases
            for beside in ((False, True) if busy else (False,))
            for ran in time_runs(trees, case, beside, samples, range(seed, seed + repeats), show)
        ]
    names = [tree.name for tree in trees]
    inside = [row for case in KERNELS for row in time_kernels(case, show)]
    made = "\n\n".join(
        [
            f"{machine()}. Older build: {names[0]}; present build: {names[1]}. Samples before and after a run: {samples:,}. "
            f"Runs and starts of each build: {repeats}, of which the table has the medians.",
            table_of(["measure", *names, "ratio"], [*run_rows(runs), *starts]),
            "Kernels of the present build:",
            table_of(["kernel", "bare networks", "all", "ratio"], inside),
            "Quality of every run:",
            table(QUALITY, [quality_cells(ran, names[ran.build]) for ran in runs]),
        ]
    )
    print(made)
    if out is not None:
        write_between(out, MARKS, made)


def table_of(head: list[str], rows: list[Row]) -> str:
    """Rows with their targets and verdicts, as a table."""
    return table([*head, "target", "verdict"], [row.cells for row in rows])


def time_runs(trees: Trees, case: str, busy: bool, samples: int, seeds: Sequence[int], show: Show) -> list[Ran]:
    """Runs of a case by both builds in turn, seed by seed; beside a busy process, by the present build alone."""
    runs = []
    with neighbour(busy):
        for seed in seeds:
            for build, tree in [*enumerate(trees)][busy:]:
                runs.append(Ran(case, build, busy, seed, *unlearn(tree, CASES[case], samples, seed)))
                beside = " beside a busy process" if busy else ""
                show(f"{CASES[case].title}, seed {seed}, {tree.name}{beside}: {runs[-1].seconds:.1f} s")
    return runs


def time_starts(trees: Trees, repeats: int, show: Show) -> list[Row]:
    """Starts by both builds in turn, after one of each that reads the files from the disk and compiles them."""

    def in_turn(what: str, start: Callable[[Tree], float]) -> Pair:
        for tree in trees:
            start(tree)
        times = [[start(tree) for tree in trees] for _ in range(repeats)]
        older, newer = (median(column) for column in zip(*times, strict=True))
        show(f"{what}: {older:.2f} s, now {newer:.2f} s")
        return older, newer

    return start_rows(in_turn("vdu models", lambda tree: timed(tree, ["models"])), in_turn("first page", first_page))


def time_kernels(case: str, show: Show) -> list[Row]:
    """The kernels of a case's model."""
    model, forget = CASES[case].model, CASES[case].forget
    rows = kernel_rows(model, kernels.of_model(model, forget))
    for row in rows:
        show(f"{row.what}: {row.cells[3]} times its networks")
    return rows


def machine() -> str:
    """The processor, its cores, the threads that torch uses and the version of torch, in words."""
    return f"{processor()}; cores: {os.cpu_count()}; threads: {torch.get_num_threads()}; torch {torch.__version__}"


def processor() -> str:
    """The processor's name, or at least its architecture."""
    listed = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows it
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]

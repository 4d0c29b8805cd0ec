"""Cells: runs to do one after another, here or on a cluster, each with a report that is kept as soon as it is finished.

A folder keeps the reports in results.jsonl, one per line. A cell that has a report there is not run again, so a
command that was stopped goes on where it stopped.
"""

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vdu.errors import UserError, foreseen
from vdu.events import Event
from vdu.models import pick_device
from vdu.recipe import Recipe
from vdu.report import Report, contents, portable, report_of
from vdu.run import Run
from vdu.task import open_model
from vdu.threads import threads_per_operation
from vdu.unlearn import unlearn
from vdu.writing import check_writable, writing

RESULTS, UNFINISHED = "results.jsonl", "results.jsonl.part"
TABLES = ("results.csv", "results.md", "pareto.png")
FILES = (RESULTS, *TABLES)
Show = Callable[[Event], None]


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        recipe: its open fields are filled.
        digest: of the model's files.
        name: what tells it from other cells, in words.
    """

    recipe: Recipe
    digest: str
    name: str

    @property
    def kept(self) -> dict[str, object]:
        """What a report keeps of the recipe, its model and its pictures."""
        return {"recipe": portable(self.recipe), "model_digest": self.digest, "files": contents(self.recipe)}

    def find(self, reports: Sequence[Report]) -> Report | None:
        """The report of this cell among some reports; None if it is not there."""
        kept = self.kept
        return next((it for it in reports if {"files": {}} | {key: it[key] for key in kept if key in it} == kept), None)


Outcome = tuple[Cell, Report | UserError]  # a cell with its report, or with the reason why it has none


class Executor(Protocol):
    """Something that runs cells, in any order.

    Attributes:
        device: where models are opened to check whether a cell can be run; "" for the device of its recipe.
    """

    device: str

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome, None, None]:
        """Run cells and yield each as it ends; if this is closed or interrupted, the rest is not run."""


@dataclass(frozen=True)
class Here:
    """Runs cells one after another in this process.

    Attributes:
        show: called with the events of every run.
        threads: CPU threads per operation; None for as many as PyTorch takes.
    """

    show: Show
    threads: int | None = None
    device: str = ""

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome, None, None]:
        """Run cells in their order; see `Executor`."""
        for cell in cells:
            try:
                report = carry_out(cell.recipe, cell.digest, self.threads, self.show)
            except Exception as error:
                yield cell, refusal_of(error)
            else:
                yield cell, report


def refusal_of(error: Exception) -> UserError:
    """What to tell the user of an error in a run.

    Raises:
        Exception: the error itself, if it is a defect.
    """
    if isinstance(error, UserError):
        return error
    if words := foreseen(error):
        return UserError(words)
    raise error


def carry_out(recipe: Recipe, digest: str, threads: int | None = None, show: Show = lambda event: None) -> Report:
    """Do one run from beginning to end.

    Args:
        recipe, digest: of a `Cell`.
        threads: CPU threads per operation; None for as many as PyTorch takes.
        show: called with its events.

    Raises:
        UserError: if it cannot be run, or the model's files are others than those of the cell.
    """
    with threads_per_operation(threads):
        run = Run(recipe)
        if run.model.digest != digest:
            raise UserError(
                f"'{recipe.model}' has other weights on the machine that was to run it; copy the same files there."
            )
        for event in unlearn(run):
            show(event)
        return report_of(run)


def digests(recipes: Sequence[Recipe], device: str) -> dict[str, str]:
    """Model -> digest of its files.

    Args:
        recipes: of cells; device: of the executor.

    Raises:
        UserError: if there is no such model, or no such device.
    """
    devices = {recipe.model: device or pick_device(recipe.device) for recipe in recipes}
    return {name: open_model(name, where)[0].digest for name, where in devices.items()}


def check(cell: Cell, device: str) -> None:
    """Look whether a cell can be run, without running it.

    Raises:
        UserError: if not.
    """
    Run(cell.recipe, device=device)


def run_missing(
    cells: Sequence[Cell], reports: Sequence[Report], folder: Path, executor: Executor
) -> Generator[Outcome, None, None]:
    """Run the cells that have no report yet; every new report is in the folder before it is yielded.

    Raises:
        UserError: if the folder cannot be written to.
    """
    missing = [cell for cell in cells if not cell.find(reports)]
    check_writable(folder / RESULTS)
    if missing:
        for cell, outcome in executor.run(missing):
            if not isinstance(outcome, UserError):
                keep(outcome, folder)
            yield cell, outcome


def keep(report: Report, folder: Path) -> None:
    """Add a report to a folder. The file has whole lines only, even if the command is killed.

    Raises:
        UserError: if it cannot be written.
    """
    with written(folder, UNFINISHED):
        there = (folder / RESULTS).read_text() if (folder / RESULTS).exists() else ""
        (folder / UNFINISHED).write_text(there + json.dumps(report) + "\n")
        (folder / UNFINISHED).replace(folder / RESULTS)


@contextmanager
def written(folder: Path, *names: str) -> Iterator[None]:
    """Write some files in a folder, which is made; if one cannot be written, none is left.

    Raises:
        UserError: if one cannot be written.
    """
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError:
            for name in names:
                (folder / name).unlink(missing_ok=True)
            raise


def read_reports(folder: Path) -> list[Report]:
    """The reports that a folder keeps; none in a new folder.

    Raises:
        UserError: if the folder holds anything else.
    """
    if not folder.exists():
        return []
    refusal = UserError(f"'{folder}' already holds something else; choose another --out.")
    if not folder.is_dir() or any(path.name not in (*FILES, UNFINISHED) for path in folder.iterdir()):
        raise refusal
    if not (folder / RESULTS).exists():
        if any(path.name != UNFINISHED for path in folder.iterdir()):
            raise refusal
        return []
    try:
        reports = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
        whole = all(isinstance(it["recipe"], dict) and it["model_digest"] and it["after"] for it in reports)
    except (ValueError, TypeError, KeyError) as error:
        raise refusal from error
    if not whole:
        raise refusal
    return reports

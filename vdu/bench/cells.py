"""Cells: runs to do one after another, here or on a cluster, each with a report that is kept as soon as it is finished.

A folder keeps the reports in results.jsonl, one per line. A cell that has a report there is not run again, so a
command that was stopped goes on where it stopped.
"""

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from vdu.catalog import entry_of
from vdu.concepts.base import named_in
from vdu.errors import UserError, foreseen
from vdu.events import Event
from vdu.models import pick_device
from vdu.recipe import Recipe
from vdu.report import Report, contents, portable, report_of
from vdu.run import Run
from vdu.task import open_model
from vdu.threads import threads_per_operation
from vdu.unlearn import unlearn
from vdu.writing import NotWritten, check_writable, writing

RESULTS, UNFINISHED = "results.jsonl", "results.jsonl.part"
TABLES = ("results.csv", "results.md", "pareto.png")
FILES = (RESULTS, *TABLES)
LOCK = ".lock"
OF_SYSTEMS = ("Thumbs.db", "desktop.ini")  # what systems leave in folders that somebody looks at; other names begin with a dot
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


def refuse_twins(cells: Sequence[Cell]) -> None:
    """Refuse cells that are the same run, however their models, pictures and classes are written.

    Raises:
        UserError: if there are two.
    """
    seen: dict[str, str] = {}
    for cell in cells:
        kept = cell.kept
        same = {"model": cell.digest, "forget": meaning_of(cell.recipe)} | kept["files"]
        key = repr({"recipe": kept["recipe"] | same})
        if key in seen:
            raise UserError(f"the cells “{seen[key]}” and “{cell.name}” are the same run; leave one of them out.")
        seen[key] = cell.name


def meaning_of(recipe: Recipe) -> list[Any]:
    """What a recipe forgets, the same for every order and every synonym of its words."""
    entry = None if recipe.judge or recipe.pictures else entry_of(recipe.model)
    with suppress(UserError):  # the catalog's model does not know it; it is refused later
        return sorted({*(entry.concept(recipe.forget).class_sets if entry else named_in(recipe.forget))})
    return [recipe.forget]


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
        with alone_in(folder):
            for cell, outcome in executor.run(missing):
                if not isinstance(outcome, UserError):
                    keep(cell, outcome, folder)
                yield cell, outcome


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for one command: two would both run the same cells.

    Raises:
        UserError: if another command holds it, or the folder cannot be written to.
    """
    made = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(f"Another command is writing to '{folder}'; wait for it, or choose another --out.") from error
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def keep(cell: Cell, report: Report, folder: Path) -> None:
    """Add a report to a folder, unless it is there. The file has whole lines only, even if the command is killed.

    Raises:
        UserError: if it cannot be written.
    """
    if cell.find(read_lines(folder)):
        return
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
        except (OSError, NotWritten):
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
    if not folder.is_dir():
        raise refusal
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name not in OF_SYSTEMS}
    if names - {*FILES, UNFINISHED} or (RESULTS not in names and names - {UNFINISHED}):
        raise refusal
    try:
        return read_lines(folder)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise refusal from error


def read_lines(folder: Path) -> list[Report]:
    """The reports in a folder that `read_reports` has let pass; none without a file.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: if a line holds no report.
    """
    if not (folder / RESULTS).exists():
        return []
    reports = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    if not all(isinstance(it["recipe"], dict) and it["model_digest"] and it["after"] for it in reports):
        raise ValueError("a line is no report")
    return reports

"""What the server keeps of a visitor: their last run, its folder, and whether they asked it to stop."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vdu.data.pictures import MOST_PICTURES, read_each
from vdu.errors import UserError
from vdu.export import write_run, zip_model
from vdu.page.view import RunView, live_view, write_comparison
from vdu.report import report_of
from vdu.run import Run

START = "start"  # in a session's folder: the model that its run goes on from
THUMBNAIL = (3, 96, 96)  # channels, height and width of uploaded pictures, for a model whose size is not known


class Session:
    """One visitor's last run. It is theirs alone, and goes with its folder when their session does."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self.view: RunView = live_view(run)

    @property
    def model(self) -> str:
        """The name of the run's model."""
        return self.run.recipe.model

    @property
    def model_folder(self) -> Path | None:
        """The model the run left; if it changed nothing, the one it started from; None for the model as it came."""
        return next((path for path in (self.folder / "run" / "unlearned", self.folder / START) if path.is_dir()), None)

    def refresh(self, measured: bool = False) -> RunView:
        """Bring the view up to date while the run goes on.

        Args:
            measured: whether the untouched model has just been measured, so that there is something new to report.
        """
        self.view = live_view(self.run, self.view, report_of(self.run) if measured else None)
        return self.view

    def finish(self) -> RunView:
        """Write report, picture sheet and model, and bring the view up to date."""
        report = write_run(self.run, self.folder / "run")
        view = live_view(self.run, self.view, report, finished=True)
        paths = (self.folder / "run" / "report.json", write_comparison(self.folder, view), zip_model(self.folder, report))
        self.view = replace(view, files=tuple(map(str, paths)))
        return self.view


def forget_session(session: Session | None) -> None:
    """Delete what a visitor's run left on disk."""
    if session:
        shutil.rmtree(session.folder, ignore_errors=True)


def new_folder() -> Path:
    """An empty folder for one run."""
    return Path(tempfile.mkdtemp(prefix="vdu-run-"))


def start_folder(session: Session | None, model: str, go_on: bool) -> Path | None:
    """The folder of the model that a visitor's run starts from if it goes on from their last one; else None.

    Raises:
        UserError: if there is no earlier run of the model.
    """
    if not go_on:
        return None
    if session is None or session.model_folder is None or session.model != model:
        raise UserError("There is no earlier run of this model to go on from; clear “Go on from the last run”.")
    return session.model_folder


def copy_start(source: Path | None, folder: Path) -> str:
    """Link the model to go on from into a new session's folder, since the last session's folder goes; "" for none."""
    if source is None:
        return ""
    shutil.copytree(source, folder / START, copy_function=os.link)
    return str(folder / START)


def read_uploads(uploaded: Iterable[str], shape: tuple[int, int, int] | None) -> tuple[dict[Path, Tensor], list[str]]:
    """The uploaded pictures that can be read, (c, h, w) uint8, by path, and a sentence for each of the others.

    Raises:
        UserError: for too many files.
    """
    return read_each(map(Path, uploaded), shape or THUMBNAIL)


def save_uploads(uploaded: list[str] | None, folder: Path) -> str:
    """Copy the uploaded pictures that can be read into a new folder; "" if nothing was uploaded.

    Raises:
        UserError: if none can be read.
    """
    if not uploaded:
        return ""
    folder.mkdir()
    readable, _ = read_uploads(uploaded, None)
    used = [path for path in map(Path, uploaded) if path in readable or any(path in inside.parents for inside in readable)]
    for number, path in enumerate(used):
        shutil.copy(path, folder / f"{number:03d}{path.suffix}")
    if not readable:
        raise UserError("None of these files is a picture that can be read; upload PNG or JPEG.")
    return str(folder)


def check_count(uploaded: list[str] | None) -> None:
    """Refuse more pictures than a run can use.

    Raises:
        UserError: for too many.
    """
    if len(uploaded or ()) > MOST_PICTURES:
        raise UserError(f"These are {len(uploaded)} pictures; give at most {MOST_PICTURES}.")


class StopFlags:
    """By visitor: a flag that is set when their run, waiting or under way, must end."""

    def __init__(self) -> None:
        self.flags: dict[str, threading.Event] = {}

    def check_idle(self, visitor: str) -> None:
        """Refuse a second run.

        Raises:
            UserError: if one is waiting or under way.
        """
        flag = self.flags.get(visitor)
        if flag and not flag.is_set():
            raise UserError("A run of yours is waiting or under way; press Stop first.")

    def announce(self, visitor: str) -> None:
        """A run of the visitor is about to wait for its turn."""
        self.flags[visitor] = threading.Event()

    def of(self, visitor: str) -> threading.Event:
        """The flag of the visitor's run."""
        return self.flags.setdefault(visitor, threading.Event())

    def stop(self, visitor: str) -> bool:
        """Tell the visitor's run to end at its next event; returns whether there is one."""
        flag = self.flags.get(visitor)
        if flag:
            flag.set()
        return flag is not None

    def release(self, visitor: str, flag: threading.Event) -> None:
        """A run of the visitor has ended; the flag of a later one that waits stays."""
        if self.flags.get(visitor) is flag:
            del self.flags[visitor]

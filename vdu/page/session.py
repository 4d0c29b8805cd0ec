"""What the server keeps per visitor: the last run, its folder, and whether the visitor asked it to stop."""

import os
import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from vdu.errors import UserError
from vdu.export import write_run, zip_model
from vdu.page.view import RunView, live_view, write_comparison
from vdu.report import report_of
from vdu.run import Run

START = "start"  # subfolder of a session: the model that its run continues from


class Session:
    """The last run of one visitor. No other visitor sees it; it is deleted, with its folder, when the session ends."""

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
        """The model that the run wrote; if none, the model it continued from; None if that was the untouched model."""
        return next((path for path in (self.folder / "run" / "unlearned", self.folder / START) if path.is_dir()), None)

    def refresh(self, measured: bool = False) -> RunView:
        """Bring the view up to date while the run goes on.

        Args:
            measured: whether the untouched model has just been measured, so that the report is new.
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
    """Delete the folder of a visitor's run."""
    if session:
        shutil.rmtree(session.folder, ignore_errors=True)


def new_folder() -> Path:
    """An empty folder for one run."""
    return Path(tempfile.mkdtemp(prefix="vdu-run-"))


def start_folder(session: Session | None, model: str, go_on: bool) -> Path | None:
    """The folder of the model that the visitor's run starts from if it continues their last run; else None.

    Raises:
        UserError: if there is no earlier run of the same model.
    """
    if not go_on:
        return None
    if session is None or session.model_folder is None or session.model != model:
        raise UserError("There is no earlier run of this model to go on from; untick “Go on from the last run”.")
    return session.model_folder


def copy_start(source: Path | None, folder: Path) -> str:
    """Hard-link the model to continue from into a new session's folder, as the old folder will be deleted; "" for none."""
    if source is None:
        return ""
    shutil.copytree(source, folder / START, copy_function=os.link)
    return str(folder / START)


class StopFlags:
    """A flag per visitor, set when their run must end, whether it waits or is under way."""

    def __init__(self) -> None:
        self.flags: dict[str, threading.Event] = {}

    def check_idle(self, visitor: str) -> None:
        """Refuse a second run of a visitor.

        Raises:
            UserError: if their first run waits or is under way.
        """
        flag = self.flags.get(visitor)
        if flag and not flag.is_set():
            raise UserError("You already have a run that is waiting or under way; press Stop first.")

    def announce(self, visitor: str) -> None:
        """Make a new flag for a run of the visitor that will wait for its turn."""
        self.flags[visitor] = threading.Event()

    def of(self, visitor: str) -> threading.Event:
        """The flag of the visitor's run."""
        return self.flags.setdefault(visitor, threading.Event())

    def stop(self, visitor: str) -> bool:
        """Ask the visitor's run to end at its next event; returns whether there is a run."""
        flag = self.flags.get(visitor)
        if flag:
            flag.set()
        return flag is not None

    def release(self, visitor: str, flag: threading.Event) -> None:
        """Delete the flag of a run that has ended, unless it already belongs to a later run."""
        if self.flags.get(visitor) is flag:
            del self.flags[visitor]

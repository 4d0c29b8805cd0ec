"""What the server keeps per visitor: the last run and its folder, until they leave or others need the space."""

import os
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vdu.errors import UserError
from vdu.export import write_run, zip_model
from vdu.page.settings import Settings
from vdu.page.view import RunView, live_view, write_comparison
from vdu.report import report_of
from vdu.run import Run
from vdu.workspace import downloads, size_of
from vdu.writing import NotWritten, writing

GIB = 2**30
ABSENT = 60.0  # seconds after which a visitor without an open stream has left
START = "start"  # subfolder of a session: the model that its run continues from


class Session:
    """The last run of one visitor. No other visitor sees it; it is deleted, with its folder, when the visitor has left."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run: Run | None = run
        self.model = run.recipe.model
        self.folder = folder
        self.public = downloads() / secrets.token_hex(16)  # what the visitor may download
        self.view: RunView = live_view(run)
        self.size = (0, 0)  # bytes of memory and of disk, once the run has ended

    @property
    def model_folder(self) -> Path | None:
        """The model that the run wrote or else the one that it continued from; None if that was the untouched model."""
        return next((path for path in (self.folder / "run" / "unlearned", self.folder / START) if path.is_dir()), None)

    def refresh(self, measured: bool = False) -> RunView:
        """Bring the view up to date while the run goes on.

        Args:
            measured: whether the untouched model has just been measured, so that the report is new.
        """
        self.view = live_view(self.run, self.view, report_of(self.run) if measured else None)
        return self.view

    def finish(self) -> RunView:
        """Bring the view up to date, and write report, picture sheet and model: all of them, or none and `RunView.problem`."""
        report = report_of(self.run)
        self.view = view = live_view(self.run, self.view, report, finished=True)
        try:
            write_run(self.run, self.folder / "run")
            with writing(self.public):
                self.public.mkdir(parents=True)
                shutil.copy(self.folder / "run" / "report.json", self.public)
            files = write_comparison(self.public, view), *zip_model(self.folder, report, self.public)
            paths = (self.public / "report.json", *files)
            self.view = replace(view, files=tuple(map(str, paths)))
        except UserError as error:
            for folder in (self.folder / "run", self.public):
                shutil.rmtree(folder, ignore_errors=True)
            why = error.reason if isinstance(error, NotWritten) else str(error).removesuffix(".")
            problem = f"The figures on this page are right, but the files could not be written: {why}; run it again later."
            self.view = replace(view, problem=problem)
        self.weigh()
        return self.view

    @property
    def finished_run(self) -> Run | None:
        """The run, if both its models are measured and it has not been deleted since."""
        run = self.run
        return run if run and run.after is not None else None

    def weigh(self) -> None:
        """Take note of how much memory and disk the run takes."""
        run = self.run
        samples = [run.before, run.after, run.replay and run.replay.samples]
        images = sum(side.images.nbytes + side.features.nbytes for side in samples if side)
        trained = sum(weight.nbytes for weight in run.model.unet.parameters() if weight.requires_grad)
        self.size = (images + trained + sum(map(len, self.view.sheets.values())), size_of(self.folder) + size_of(self.public))

    def free(self) -> None:
        """Delete all that the run holds; whoever still has this session finds nothing in it."""
        self.run, self.view, self.size = None, RunView(self.view.forget), (0, 0)
        for folder in (self.folder, self.public):
            shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """The last run of every visitor who is here, the least recently used first.

    Args:
        settings: the bounds of memory and disk.
        is_here: whether a visitor has a stream open, or had one within the last so many seconds.
    """

    def __init__(self, settings: Settings, is_here: Callable[[str, float], bool]) -> None:
        self.settings, self.is_here = settings, is_here
        self.lock = threading.Lock()
        self.kept: dict[str, Session] = {}

    def keep(self, visitor: str, session: Session) -> None:
        """Keep a visitor's new run in place of their last one."""
        with self.lock:
            last = self.kept.pop(visitor, None)
            self.kept[visitor] = session
        forget_session(last)

    def sweep(self, absent: float = ABSENT) -> int:
        """Delete the runs of visitors who left `absent` seconds ago, and the oldest of all while they are over the bounds.

        Returns:
            how many were deleted.
        """
        with self.lock:
            gone = [visitor for visitor in self.kept if not self.is_here(visitor, absent)]
            bounds = self.settings.memory_gb * GIB, self.settings.disk_gb * GIB
            staying = [visitor for visitor in self.kept if visitor not in gone]
            while staying and any(
                sum(self.kept[visitor].size[kind] for visitor in staying) > bound for kind, bound in enumerate(bounds)
            ):
                gone.append(staying.pop(0))
            freed = [self.kept.pop(visitor) for visitor in gone]
        for session in freed:
            session.free()
        return len(freed)


def forget_session(session: Session | None) -> None:
    """Delete what a visitor's run holds."""
    if session:
        session.free()


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

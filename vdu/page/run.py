"""Start and stop a run: read the recipe from the inputs, and pass the events of the run on to the panels."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from vdu.errors import UserError
from vdu.events import PHASES, Event, Measured, Preview, Progress
from vdu.page.controls import recipe_of
from vdu.page.errors import shows_errors
from vdu.page.markup import render
from vdu.page.panel import DEVICE, Page
from vdu.page.session import Session, copy_start, forget_session, new_folder, start_folder
from vdu.run import Run
from vdu.unlearn import unlearn
from vdu.worker import on_worker

REFRESH = 0.5  # seconds between two updates of the progress bar, since a browser on the same machine draws each
REFUSED = "This cannot be run"


def status_html(words: str = "Ready.") -> str:
    """The status line without a progress bar."""
    return render("status", percent=None, phase="", words=words)


def progress_html(progress: Progress, title: str = "") -> str:
    """A progress bar with the phase and the time left in it; the title, if any, comes first."""
    left = "" if progress.seconds_left is None else f" · about {progress.seconds_left:.0f} s left in this phase"
    words = f"{title}: " * bool(title) + f"{PHASES[progress.phase]} · {progress.done} of {progress.total}{left}"
    return render("status", percent=100 * progress.done / max(1, progress.total), phase=PHASES[progress.phase], words=words)


class ProgressBar:
    """The status line of one run, updated at most every `REFRESH` seconds."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.shown = 0.0

    def update(self, event: Event) -> str | None:
        """The new status line after an event; None if it stays the same."""
        if not isinstance(event, Progress) or time.monotonic() - self.shown < REFRESH:
            return None
        self.shown = time.monotonic()
        return progress_html(event, self.title)


class Runner:
    """Handlers that start and stop runs on one page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wire(self) -> None:
        """Connect the Unlearn and Stop buttons."""
        page = self.page
        on_click(page, page.controls.start, self.start, page.outputs)
        page.controls.stop.click(self.stop, None, page.status, show_progress="hidden", api_visibility="private")

    def stop(self, request: gr.Request) -> str:
        """Ask the visitor's run to end; it ends, and shows its results so far, at its next event."""
        return status_html("Stopping …" if self.page.stops.stop(request.session_hash) else "Nothing is running.")

    def leave(self, request: gr.Request) -> None:
        """End the run of a visitor who has closed the page."""
        self.page.stops.stop(request.session_hash)

    @shows_errors(REFUSED)
    @on_worker
    def start(self, request: gr.Request, data: dict) -> Iterator[dict[Any, Any]]:
        """Run the recipe of the inputs and show its events, until it ends or the visitor asks to stop."""
        page, last_session = self.page, data[self.page.state]
        stop, folder, kept = page.stops.of(request.session_hash), new_folder(), False
        try:
            if stop.is_set():
                yield {page.status: status_html("Stopped before the run began.")}
                return
            yield {page.status: status_html("Loading the model …")}
            session = Session(open_run(page, data, folder), folder)
            yield {page.status: status_html("Starting …"), **page.render(session.view)}
            bar = ProgressBar()
            with closing(unlearn(session.run)) as events:
                for event in events:
                    if stop.is_set():
                        break
                    if session.run.steps and not kept:  # from here on this run replaces the last one
                        kept = True
                        forget_session(last_session)
                        yield {page.state: session}
                    if changes := self.changes(session, event, bar):
                        yield changes
            if kept:
                yield {
                    page.state: session,
                    page.status: status_html("Stopped." if stop.is_set() else "Done."),
                    page.controls.fields["go_on"]: gr.update(visible=True),
                    **page.render(session.finish()),
                }
            else:
                yield self.reset(data, "Stopped before the model was changed.")
        except UserError:
            yield self.reset(data)
            raise
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)
            page.stops.release(request.session_hash, stop)

    def changes(self, session: Session, event: Event, bar: ProgressBar) -> dict[Any, Any]:
        """What an event changes on the page."""
        if isinstance(event, Preview) or (isinstance(event, Measured) and event.side == "before"):
            return self.page.render(session.refresh(measured=isinstance(event, Measured)))
        line = bar.update(event)
        return {} if line is None else {self.page.status: line}

    def reset(self, data: Mapping[Any, Any], words: str = "Ready.") -> dict[Any, Any]:
        """The page as it was before a run that changed nothing."""
        page = self.page
        view = page.view_of(data[page.state], data[page.controls.fields["model"]])
        return {page.status: status_html(words), **page.render(view)}


def open_run(page: Page, data: Mapping[Any, Any], folder: Path) -> Run:
    """The run that the inputs describe.

    Args:
        page: where the inputs are.
        data: their values.
        folder: where the uploads and the model to continue from are copied to.

    Raises:
        UserError: if the inputs describe no valid run.
    """
    values = page.controls.values(data)
    start = start_folder(data[page.state], values["model"], values["go_on"])
    return Run(recipe_of(values, page.settings, folder), copy_start(start, folder))


def on_click(page: Page, button: gr.Button, handler: Any, outputs: list[Any]) -> None:
    """Let a button start a run: bad input is refused before it is queued; only one run computes at a time."""

    @shows_errors(REFUSED)
    def check(request: gr.Request, data: dict) -> list[dict[str, Any]]:
        values = page.controls.values(data)
        recipe_of(values, page.settings)
        start_folder(data[page.state], values["model"], values["go_on"])
        page.stops.check_idle(request.session_hash)
        page.stops.announce(request.session_hash)
        return [gr.validate(True, "")] * len(data)

    button.click(
        handler,
        page.inputs,
        outputs,
        validator=check,
        trigger_mode="once",
        show_progress="full",
        show_progress_on=page.status,
        api_visibility="private",
        **DEVICE,
    )

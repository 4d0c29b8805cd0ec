"""Start and stop a run: read the recipe from the inputs, and pass the events of the run on to the panels."""

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from vdu.errors import UserError
from vdu.events import PHASES, Event, Measured, Preview, Progress
from vdu.page import gpu
from vdu.page.controls import can_go_on, recipe_of
from vdu.page.errors import shows_errors
from vdu.page.gpu import compute, usual_seconds
from vdu.page.markup import render
from vdu.page.panel import AT_ONCE, IN_TURN, Page, copies
from vdu.page.session import Session, copy_start, start_folder
from vdu.page.turns import LEFT, TIMED_OUT, Ticket
from vdu.recipe import Recipe
from vdu.run import TIMED_OUT as TIME_OVER
from vdu.run import Run
from vdu.worker import on_worker
from vdu.workspace import new_folder

LOG = logging.getLogger("vdu")

REFRESH = 0.5  # seconds between two updates of the progress bar, since a browser on the same machine draws each
ANSWERED = 0.5  # seconds after which the page has the answer of the Stop button, which must not come last
REFUSED = "This cannot be run"


def status_html(words: str = "Ready.") -> str:
    """The status line without a progress bar."""
    return render("status", percent=None, phase="", words=words)


def progress_html(progress: Progress, title: str = "") -> str:
    """A progress bar with the phase and the time left in it; the title, if any, comes first."""
    left = "" if progress.seconds_left is None else f" · about {progress.seconds_left:.0f} s left in this phase"
    words = f"{title}: " * bool(title) + f"{PHASES[progress.phase]} · {progress.done} of {progress.total}{left}"
    return render("status", percent=100 * progress.done / max(1, progress.total), phase=PHASES[progress.phase], words=words)


def waiting_html(place: Progress) -> str:
    """The status line of a run that waits."""
    runs = "1 run is" if place.total == 1 else f"{place.total} runs are"
    left = "" if place.seconds_left is None else f"; it is your turn in about {place.seconds_left:.0f} s"
    return status_html(f"Waiting: {runs} before yours{left}.")


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
        return self.html(event)

    def html(self, event: Progress) -> str:
        """The status line at an event."""
        return progress_html(event, self.title)


class Runner:
    """Handlers that start and stop runs on one page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wire(self) -> None:
        """Connect the Unlearn and Stop buttons."""
        page = self.page
        on_click(page, page.controls.start, self.start, page.outputs)
        page.controls.stop.click(self.stop, None, page.status, show_progress="hidden", **AT_ONCE)

    def stop(self, request: gr.Request) -> str:
        """See `stop_runs`."""
        return stop_runs(self.page, request)

    def leave(self, request: gr.Request) -> None:
        """End the runs of a visitor who has closed the page."""
        self.page.turns.stop(request.session_hash)

    @shows_errors(REFUSED)
    def start(self, request: gr.Request, data: dict) -> Iterator[dict[Any, Any]]:
        """Run the recipe of the inputs once it is its turn, and show its events, until it ends or must end."""
        status = self.page.status
        with own_turn(self.page, request) as ticket:
            for place in self.page.turns.wait(ticket):
                yield {status: waiting_html(place)}
            if ticket.ended:
                yield {status: status_html("Stopped before the run began.")}
                return
            yield from on_worker(self.carry_out)(ticket, data)

    def carry_out(self, ticket: Ticket, data: dict) -> Iterator[dict[Any, Any]]:
        """What `start` shows while it computes."""
        page, folder, kept = self.page, new_folder(), False
        shown: dict[Any, Any] = {}
        try:
            yield {page.status: status_html("Loading the model …")}
            session = Session(open_run(page, data, folder), folder)
            yield {page.status: status_html("Starting …"), **news(shown, page.render(session.view))}
            bar = ProgressBar()
            for event in events_of(page, ticket, session.run):
                if session.run.steps and not kept:  # from here on this run replaces the last one
                    kept = True
                    page.sessions.keep(ticket.visitor, session)
                    yield {page.state: session}
                if changes := news(shown, self.changes(session, event, bar)):
                    yield changes
            if kept:
                view = session.finish()
                yield {
                    page.state: session,
                    page.status: status_html(ending(page, ticket, session.run, view.problem)),
                    page.controls.fields["go_on"]: gr.update(visible=can_go_on(session, session.model)),
                    **news(shown, page.render(view)),
                }
            else:
                yield self.reset(data, "Stopped before the model was changed.")
        except Exception:
            yield self.reset(data)
            raise
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def changes(self, session: Session, event: Event, bar: ProgressBar) -> dict[Any, Any]:
        """What an event changes on the page."""
        if isinstance(event, Preview) or (isinstance(event, Measured) and event.side == "before"):
            return self.page.render(session.refresh(measured=isinstance(event, Measured)))
        line = bar.update(event)
        return {} if line is None else {self.page.status: line}

    def reset(self, data: Mapping[Any, Any], words: str = "Ready.") -> dict[Any, Any]:
        """The page as it was before a run that changed nothing."""
        page = self.page
        last = page.render_last(data[page.state], data[page.controls.fields["model"]])
        return {page.status: status_html(words), **last}


def stop_runs(page: Page, request: gr.Request) -> str:
    """Ask a visitor's runs to end, and the status line for it; each ends, and shows its results so far, at its next event."""
    return status_html("Stopping …" if page.turns.stop(request.session_hash) else "Nothing is running.")


def news(shown: dict[Any, Any], changes: Mapping[Any, Any]) -> dict[Any, Any]:
    """The changes that the page does not show yet, which are noted in `shown`."""
    new = {component: value for component, value in changes.items() if component not in shown or shown[component] != value}
    shown.update(copies(new))
    return new


@contextmanager
def own_turn(page: Page, request: gr.Request) -> Iterator[Ticket]:
    """The ticket that a visitor was given when they pressed the button; at the end it is given back, and a line is logged.

    Raises:
        UserError: if there is no such ticket, as after a call that went past the button.
    """
    if (ticket := page.turns.take(request.session_hash)) is None:
        raise UserError("This run has lost its place in the queue; press the button again.")
    with turn(page, ticket):
        yield ticket


@contextmanager
def turn(page: Page, ticket: Ticket) -> Iterator[None]:
    """Give a ticket back at the end, and log one line that says nothing of what the visitor typed."""
    outcome = "failed"
    try:
        yield
        outcome = ticket.ended or "done"
    except UserError:
        outcome = ticket.ended or "refused"
        raise
    except GeneratorExit:
        outcome = ticket.ended or LEFT
        raise
    finally:
        page.turns.end(ticket)
        now = time.monotonic()
        started = ticket.started or now
        LOG.info("%s computed=%.1fs waited=%.1fs outcome=%s", ticket.label, now - started, started - ticket.asked, outcome)


def events_of(page: Page, ticket: Ticket, run: Run) -> Iterator[Event]:
    """The events of a run in its turn, until it ends by itself, or its visitor stops it or has gone, or its time is over."""
    started, recipe = time.monotonic(), run.recipe
    ticket.label = f"model={recipe.model} method={recipe.method} steps={recipe.steps} samples={recipe.samples}"
    with closing(compute(run, lambda: page.turns.check(ticket), seconds_of(page))) as events:
        yield from events
    if run.after is not None:
        page.pace.learn(recipe, time.monotonic() - started)
    elif ticket.ended == TIMED_OUT:
        run.reason = TIME_OVER


def seconds_of(page: Page) -> Callable[[Recipe], float]:
    """How long a GPU is lent for a run: by the page's estimate, if it has one."""
    return lambda recipe: page.pace.seconds(recipe) or usual_seconds(recipe)


def ending(page: Page, ticket: Ticket, run: Run, problem: str) -> str:
    """The last words of a run's status line; `problem` says why its files could not be written, if they could not."""
    if run.after is not None:
        return f"Done. {problem}".strip()
    if ticket.ended == TIMED_OUT:
        why = f"Stopped: a run may take {page.settings.run_minutes:g} minutes here. Choose fewer samples or steps."
        return f"{why} {problem}".strip()
    return f"Stopped. {problem}".strip()


def open_run(page: Page, data: Mapping[Any, Any], folder: Path) -> Run:
    """The run that the inputs describe; see `recipe_and_start`."""
    return gpu.open_run(*recipe_and_start(page, data, folder))


def recipe_and_start(page: Page, data: Mapping[Any, Any], folder: Path) -> tuple[Recipe, str]:
    """The recipe that the inputs describe, and the folder of the model that its run starts from; see `Run`.

    Args:
        page: where the inputs are.
        data: their values.
        folder: where the uploads and the model to continue from are copied to.

    Raises:
        UserError: if the inputs describe no valid run.
    """
    values = page.controls.values(data)
    start = start_folder(data[page.state], values["model"], values["go_on"])
    return recipe_of(values, page.settings, folder), copy_start(start, folder)


def on_click(
    page: Page,
    button: gr.Button,
    handler: Any,
    outputs: list[Any],
    runs: int = 1,
    what: Callable[[dict], Sequence[Recipe]] | None = None,
    also: Collection[Any] = (),
) -> None:
    """Let a button start some runs: what cannot be run, or may not wait, is refused at once.

    Args:
        page: where the inputs are; handler: gets their values, in its turn; outputs: what it changes.
        button: the button.
        runs: how often it runs them.
        what: the recipes that it runs, or a refusal; by default that of the inputs, `runs` times.
        also: inputs beside those of the recipe.
    """
    inputs = page.inputs | {*also}

    def of_inputs(data: dict) -> list[Recipe]:
        values = page.controls.values(data)
        recipe = recipe_of(values, page.settings)
        start_folder(data[page.state], values["model"], values["go_on"])
        return [recipe] * runs

    @shows_errors(REFUSED)
    def check(request: gr.Request, data: dict) -> list[dict[str, Any]]:
        page.ask(request, (what or of_inputs)(data))
        return [gr.validate(True, "")] * len(data)

    button.click(
        handler,
        inputs,
        outputs,
        validator=check,
        trigger_mode="once",
        show_progress="full",
        show_progress_on=page.status,
        **IN_TURN,
    )

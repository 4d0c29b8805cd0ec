"""Is it really gone? Attacks on a finished run: ways to bring back what it forgot."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from vdu import charts
from vdu.attacking import chart_of
from vdu.attacks import UNLEARNED, Attack, Result, fitting
from vdu.errors import UserError
from vdu.events import Progress
from vdu.experiments import under_attack
from vdu.optimizers import GUIDANCE
from vdu.page.errors import shows_errors
from vdu.page.gpu import check_drawing
from vdu.page.markup import png, render
from vdu.page.panel import Page, Panel
from vdu.page.run import ANSWERED, REFUSED, ProgressBar, on_click, own_turn, status_html, waiting_html
from vdu.page.session import Session
from vdu.page.turns import Ticket
from vdu.page.view import RunView
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sheet import sheet
from vdu.worker import on_worker

AS_THEY_WERE = "The method guides samples and leaves the weights as they were: without the guidance, nothing is forgotten."
READY = "Forgetting can often be undone. Press the button to try, with the same seeds for the models before and after."


class IsItGone(Panel):
    """A button that attacks the visitor's run, and what each attack found."""

    order = 47

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.page = page
        self.words = gr.HTML(words_html(page.first_view))
        self.button = gr.Button("Try to bring it back", interactive=False, min_width=120, elem_id="attack")
        self.found = gr.HTML(elem_id="attacks")
        self.outputs = [self.words, self.button, self.found]
        on_click(page, self.button, self.start, [page.status, self.found], what=self.recipe_of)

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        ready = view.finished and view.pairs is not None and not guided(view)
        return {self.words: words_html(view), self.button: gr.update(interactive=ready), self.found: ""}

    def recipe_of(self, data: dict) -> list[Recipe]:
        """The recipe of the run that is attacked, alone.

        Raises:
            UserError: see `attackable`.
        """
        return [attackable(data[self.page.state]).recipe]

    @shows_errors(REFUSED)
    def start(self, request: gr.Request, data: dict) -> Iterator[dict[Any, Any]]:
        """Attack the visitor's run once it is their turn, and show what each attack found, until all are done or must end."""
        status = self.page.status
        with own_turn(self.page, request) as ticket:
            for place in self.page.turns.wait(ticket):
                yield {status: waiting_html(place)}
            if not ticket.ended:
                session = data[self.page.state]
                yield from on_worker(self.carry_out)(ticket, attackable(session), session.folder / "run" / "unlearned")
        if ticket.ended:
            time.sleep(ANSWERED)
        yield {status: status_html("Stopped." if ticket.ended else "Done.")}

    def carry_out(self, ticket: Ticket, run: Run, folder: Path) -> Iterator[dict[Any, Any]]:
        """What `start` shows while it computes; the unlearned model was written to `folder`, if to any."""
        ticket.label = f"attack model={run.recipe.model} method={run.recipe.method}"
        yield {self.page.status: status_html("Loading the model …"), self.found: ""}
        attacked = under_attack(run, folder)
        chosen, parts = fitting(attacked), []
        for number, attack in enumerate(chosen.values(), start=1):
            bar = ProgressBar(f"{attack.title} ({number} of {len(chosen)})")
            with closing(attack.carry_out(attacked)) as events:
                while True:
                    try:
                        event: Progress = next(events)
                    except StopIteration as end:
                        parts.append(part_of(attack, end.value))
                        break
                    if self.page.turns.check(ticket):
                        return
                    if line := bar.update(event):
                        yield {self.page.status: line}
            yield {self.found: render("attacks", parts=parts)}


def attackable(session: Session | None) -> Run:
    """The run of a visitor.

    Raises:
        UserError: if there is none, or its model is too large to draw with here.
    """
    if session is None or (run := session.finished_run) is None:
        raise UserError("Press Unlearn first, and let the run end; then you can try to bring back what it forgot.")
    if run.recipe.optimizer == GUIDANCE:
        raise UserError(f"{AS_THEY_WERE} Choose a method that changes them.")
    check_drawing(run)
    return run


def guided(view: RunView) -> bool:
    """Whether the run left the weights as they were."""
    return bool(view.report) and view.report["recipe"]["optimizer"] == GUIDANCE


def words_html(view: RunView) -> str:
    """What the button does or, where there is no run to attack, what to do first."""
    if view.example:
        words = f"This is a stored example, without its models. Press Unlearn; then you can try to bring {view.forget} back."
    elif not view.finished:
        words = f"Once the run has ended, you can try to bring {view.forget} back."
    elif view.pairs is None:
        words = "The run was stopped before the unlearned model was measured, so there is nothing to attack."
    elif guided(view):
        words = AS_THEY_WERE
    else:
        words = READY
    return render("heading", title="Is it really gone?", small=words)


def part_of(attack: Attack, result: Result) -> dict[str, Any]:
    """What the page shows of one attack: sentence, chart, and strips of what the unlearned model drew."""
    svg = charts.svg(
        charts.attacks([chart_of(attack, result)]), f"{attack.title}: {attack.figure[1]} against {attack.over[1]}"
    )
    strips = [(strip.title, png(sheet(strip.images, strip.framed))) for strip in result.strips if strip.model == UNLEARNED]
    return {
        "sentence": result.sentence,
        "question": attack.question,
        "svg": Markup(svg),
        "strips": strips,
        "images": (min(counts := [row.count for row in result.rows]), max(counts)),
    }


PANEL = IsItGone

"""Samples from the same seeds: before, at any step of the run, and with the change of the weights scaled."""

from typing import Any

import gradio as gr

from vdu.errors import UserError
from vdu.experiments import go_further
from vdu.export import preview_sheet
from vdu.page.errors import shows_errors
from vdu.page.gpu import check_drawing
from vdu.page.markup import picture, png, render
from vdu.page.panel import AT_ONCE, DRAWS, Page, Panel
from vdu.page.session import Session
from vdu.page.view import RunView
from vdu.sampling import run_to_end
from vdu.summary import steps_words
from vdu.worker import on_worker

SAME_SEEDS = "Same seeds on both sides; images to forget come first. Red frame: the judge sees what must be forgotten."
LOOKS = ["Smooth pixels", "Twice as large"]
FASTEST = {"show_progress": "hidden", "trigger_mode": "always_last"}


class Snapshots(Panel):
    """Two picture sheets, and two sliders that change the right one."""

    order = 10

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        view, self.page = page.first_view, page
        with gr.Row():
            with gr.Column(min_width=300):
                gr.HTML(render("heading", title="Before", small=SAME_SEEDS))
                self.before = gr.HTML(sheet_html(view, 0), elem_id="before")
            with gr.Column(min_width=300):
                self.title = gr.HTML(title_html(view, view.last_step), elem_id="when")
                self.after = gr.HTML(sheet_html(view, view.last_step), elem_id="after")
        self.step = gr.Slider(
            0,
            view.last_step,
            view.last_step,
            step=1,
            label="Step",
            elem_id="snapshot",
            info="Shows the samples at an earlier step of the run.",
        )
        self.distance = gr.Slider(
            0,
            2,
            1,
            step=0.1,
            label="How far",
            elem_id="distance",
            interactive=False,
            info="After a run: how much of its change is applied. 0 is the untouched model, 1 the result.",
        )
        gr.CheckboxGroup(LOOKS, label="How samples look", elem_id="looks", container=False)  # assets/page.css does the rest
        self.outputs = [self.before, self.title, self.after, self.step, self.distance]
        model, right = page.controls.fields["model"], [self.after, self.title]
        self.step.input(self.show_step, [page.state, model, self.step], right, **FASTEST, **AT_ONCE)
        self.distance.input(show_distance, [page.state, self.distance], right, **FASTEST, **DRAWS)

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        distance = {self.distance: gr.update(value=1, interactive=view.finished and view.pairs is not None)}
        if not view.sheets:
            return distance | {self.step: gr.update(maximum=1, value=0)}
        last = view.last_step
        return distance | {
            self.before: sheet_html(view, 0),
            self.after: sheet_html(view, last),
            self.title: title_html(view, last),
            self.step: gr.update(maximum=max(1, last), value=last),
        }

    def show_step(self, session: Session | None, model: str, position: float) -> tuple[str, str]:
        """The samples at a step of the visitor's run or, before the first run, of the model's example."""
        view = self.page.view_of(session, model)
        step = view.nearest(position)
        return sheet_html(view, step), title_html(view, step)


@shows_errors()
@on_worker
def show_distance(session: Session | None, factor: float) -> tuple[str, str]:
    """The samples of the model with the run's change of the weights times `factor`."""
    if session is None or (run := session.finished_run) is None:
        raise UserError("Press Unlearn first; this slider then scales the change that your run made.")
    check_drawing(run)
    preview = run_to_end(go_further(run, factor))
    title = render("heading", title=f"{factor:.1f} × the change", small=estimate(preview.forget_rate, preview.damage))
    return picture(png(preview_sheet(preview)), f"Samples with {factor:.1f} times the change of the run"), title


def sheet_html(view: RunView, step: int) -> str:
    """The picture sheet of a step."""
    when = "before" if step == 0 else f"after {steps_words(step)}"
    return picture(view.sheets[step], f"Samples {when}; a red frame means that the judge sees {view.forget}")


def title_html(view: RunView, step: int) -> str:
    """The heading of the right sheet, with the estimates at its step."""
    if step == 0:
        return render("heading", title="Before any step", small="the untouched model")
    look = next(look for look in view.previews if look["step"] == step)
    return render("heading", title=f"After {steps_words(step)}", small=estimate(look["forget_rate"], look["damage"]))


def estimate(forget_rate: float, damage: float) -> str:
    """Forget rate and damage, estimated from the images of a preview, as a sentence."""
    return f"Estimated from these images: forget rate {forget_rate:.1%}; {damage:.0%} of the images to keep have changed."


PANEL = Snapshots

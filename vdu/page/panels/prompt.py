"""Samples of the models before and after, for any prompt."""

from typing import Any

import gradio as gr
import torch

from vdu.errors import UserError
from vdu.experiments import try_prompt
from vdu.page.errors import shows_errors
from vdu.page.gpu import check_drawing
from vdu.page.markup import png, render
from vdu.page.panel import DRAWS, Page, Panel
from vdu.page.session import Session
from vdu.page.view import RunView
from vdu.samples import Samples
from vdu.sampling import run_to_end
from vdu.sheet import sheet
from vdu.worker import on_worker


class Prompt(Panel):
    """A text field and the samples of both models; only for models that take prompts."""

    order = 20

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        with gr.Column(visible=page.first_view.takes_prompts, min_width=200) as self.column:
            self.prompt = prompt = gr.Textbox(
                label="Try any prompt",
                info="After a run: both models draw it from the same seeds. Try synonyms or an empty prompt.",
                placeholder=page.first_view.other_wording,
                max_length=200,
                elem_id="prompt",
                submit_btn="Draw",
            )
            self.answer = gr.HTML(elem_id="answer")
        self.outputs = [self.column, self.prompt, self.answer]
        prompt.submit(
            show_prompt,
            [page.state, prompt],
            self.answer,
            show_progress="minimal",
            **DRAWS,
        )

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {
            self.column: gr.update(visible=view.takes_prompts),
            self.prompt: gr.update(placeholder=view.other_wording),
            self.answer: "",
        }


@shows_errors()
@on_worker
def show_prompt(session: Session | None, prompt: str) -> str:
    """What the models before and after a visitor's run draw for the visitor's prompt."""
    if session is None or (run := session.finished_run) is None:
        raise UserError("Press Unlearn and let the run end; then both models can draw your prompt.")
    if not session.view.takes_prompts:
        raise UserError("The model of your last run takes no prompts; run a text-to-image model first.")
    check_drawing(run)
    return answer_html(prompt, *run_to_end(try_prompt(run, prompt)))


def answer_html(prompt: str, before: Samples, after: Samples) -> str:
    """HTML of a row of samples before and a row of samples after."""
    sides = (("before", before), ("after", after))
    sheets = [(side, png(sheet(samples.images, torch.zeros(len(samples.images))))) for side, samples in sides]
    return render("answer", prompt=prompt, sheets=sheets)


PANEL = Prompt

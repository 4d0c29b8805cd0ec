"""The two terms of the loss, and the forget rate and damage at the previews, over the steps."""

from typing import Any

import gradio as gr

from vdu import charts
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView


class Curves(Panel):
    """A chart of curves over the steps."""

    order = 40
    half = True

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        view = page.first_view
        gr.HTML(render("heading", title="How it got there", small=""))
        self.curves = gr.HTML(curves_html(view), elem_id="curves")
        self.outputs = [self.curves]

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.curves: curves_html(view)}


def curves_html(view: RunView) -> str:
    """The curves of a run; a placeholder before its first step."""
    if not view.steps:
        return render("placeholder", words="The curves appear after the first steps.")
    return charts.curves(view.steps, view.previews)


PANEL = Curves

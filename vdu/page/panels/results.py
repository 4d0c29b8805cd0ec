"""What the models before and after draw: the share of each class."""

from typing import Any

import gradio as gr

from vdu import charts
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.report import Report


class Results(Panel):
    """Class shares as bars."""

    order = 30
    half = True

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        gr.HTML(render("heading", title="What it draws", small=""))
        self.shares = gr.HTML(shares_html(page.first_view.report), elem_id="shares")
        self.outputs = [self.shares]

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.shares: shares_html(view.report)}


def shares_html(report: Report | None) -> str:
    """The bar chart of class shares; a placeholder before the first measurement."""
    if not report or not report["before"]:
        return render("placeholder", words="The bars appear once the untouched model is measured.")
    return charts.class_shares(report["before"], report["after"], report["forget"])


PANEL = Results

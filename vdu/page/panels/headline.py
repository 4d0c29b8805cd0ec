"""The result of the run in a few sentences, and its progress."""

from typing import Any

import gradio as gr

from vdu.methods import METHODS
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.run import STOPPED
from vdu.summary import GUIDED, headline, steps_words

MADE_AHEAD = "This is a stored example. Press Unlearn to make a run of your own."


class Headline(Panel):
    """The headline, with the status line below it."""

    order = 0

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.headline = gr.HTML(headline_html(page.first_view), elem_id="headline")
        page.status.render()
        self.outputs = [self.headline]

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.headline: headline_html(view)}


def headline_html(view: RunView) -> str:
    """The result of a run and why it stopped; while it goes on, the estimates so far."""
    if not view.finished:
        return render("headline", words=working_words(view), small="")
    report = view.report
    changed = "the guidance" if report["recipe"]["optimizer"] == GUIDED else "the change of the weights"
    small = [
        MADE_AHEAD if view.example else "",
        f"{METHODS[report['method']].title}. It stopped after {steps_words(report['steps_taken'])} because "
        f"{report['stopped_because'].replace(STOPPED, 'the user stopped it')}.",
        f"Then {changed} was scaled by {report['scale']:g}." if report["scale"] != 1 else "",
    ]
    return render("headline", words=headline(report), small=" ".join(filter(None, small)))


def working_words(view: RunView) -> str:
    """The forget rate of a run under way, estimated at its first and its latest preview."""
    words = f"Forgetting {view.forget} …"
    if not view.previews:
        return words
    first, last = view.previews[0], view.previews[-1]
    words += f" the judge saw it in about {first['forget_rate']:.1%} of the samples at the start"
    return words + (
        f", and sees it in about {last['forget_rate']:.1%} after {steps_words(last['step'])}." if last["step"] else "."
    )


PANEL = Headline

"""The run in two sentences, and how far it is."""

from typing import Any

import gradio as gr

from vdu.methods import METHODS
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.report import headline

MADE_AHEAD = "An example made ahead, so that there is something to look at: press Unlearn for a run of your own."


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
    """What came of a run, and why it stopped; or while it goes on, how far it has come."""
    if not view.finished:
        return render("headline", words=working_words(view), small="")
    report = view.report
    small = [
        MADE_AHEAD if view.example else "",
        f"{METHODS[report['method']].title}. It stopped after {report['steps_taken']} steps because "
        f"{report['stopped_because']}.",
        f"Then its change was scaled by {report['scale']:g}." if report["scale"] != 1 else "",
    ]
    return render("headline", words=headline(report), small=" ".join(filter(None, small)))


def working_words(view: RunView) -> str:
    """How far a run under way has come, by its previews."""
    words = f"Forgetting {view.forget} …"
    if not view.previews:
        return words
    first, last = view.previews[0], view.previews[-1]
    words += f" about {first['forget_rate']:.1%} of samples at the start"
    return words + (f", about {last['forget_rate']:.1%} after {last['step']} steps." if last["step"] else ".")


PANEL = Headline

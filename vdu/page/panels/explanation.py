"""An explanation of the method, with a chart of the timesteps at which a model decides on the class."""

import json

import gradio as gr

from vdu import charts
from vdu.assets import ASSETS
from vdu.catalog import CATALOG, Entry
from vdu.page.markup import chart
from vdu.page.panel import Page, Panel

LATEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


class Explanation(Panel):
    """A text with formulas, and a chart in the middle."""

    order = 70

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.outputs = []
        default = page.controls.default
        method, numbers = (ASSETS / "explanation.md").read_text().split("<!-- timesteps -->")
        with gr.Accordion("What is happening here", open=False):
            gr.Markdown(method, latex_delimiters=LATEX)
            gr.HTML(timesteps_html(CATALOG[default.model], (default.t_min, default.t_max)))
            gr.Markdown(numbers, latex_delimiters=LATEX)


def timesteps_html(entry: Entry, window: tuple[int, int]) -> str:
    """The chart of a model's timesteps.json, which `vdu bench timesteps` wrote, with the default window of timesteps."""
    rows = json.loads((entry.folder / "timesteps.json").read_text())
    return chart(
        charts.svg(charts.class_memory(rows, window), "Share of real images that come back as their class, by timestep")
    )


PANEL = Explanation

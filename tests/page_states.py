"""Pytest plugin: a page without a server, and a run in every state that its panels may have to show."""

import dataclasses

import gradio as gr
import pytest
import torch

from vdu.page import build_panels
from vdu.page.controls import Controls
from vdu.page.panel import Page, Panel, default_recipe, make_panels
from vdu.page.run import status_html
from vdu.page.settings import Settings
from vdu.page.view import RunView, SamplePairs, example_of, examples

HOSTILE = "<script>alert('3')</script>"
ESCAPED = "&lt;script&gt;"


@pytest.fixture(scope="session")
def page():
    """All that a page's handlers share."""
    with gr.Blocks():
        page = Page(Settings(), Controls(Settings(), default_recipe()), gr.State(None), gr.HTML(status_html(), render=False))
        page.panels = make_panels()
        build_panels(page)
    return page


@pytest.fixture(scope="session")
def panels(page) -> dict[str, Panel]:
    """The panels of the page, by the names of their classes."""
    return {type(panel).__name__: panel for panel in page.panels}


def hostile(view: RunView) -> RunView:
    """The run with a name that wants to be HTML, as a visitor may give to what their pictures show."""
    report = view.report | {"forget": HOSTILE, "stopped_because": HOSTILE, "device": HOSTILE}
    report["after"] = report["after"] | {"least_retained_class": HOSTILE}
    for side in ("before", "after"):
        report[side] = report[side] | {"class_shares": {HOSTILE: 0.5, "other": 0.5}}
    yes, no, images = torch.tensor([True, True]), torch.tensor([False, False]), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    pairs = SamplePairs(
        HOSTILE, (HOSTILE, "other"), (HOSTILE,), (images,) * 2, (torch.tensor([0, 1]), torch.tensor([1, 0])), (no, yes), yes
    )
    return dataclasses.replace(view, forget=HOSTILE, report=report, pairs=pairs)


def views() -> dict[str, RunView]:
    """A run in every state."""
    example = example_of("mnist-ddpm")
    running = dataclasses.replace(example, report=None, finished=False, example=False)
    stopped = dataclasses.replace(example, example=False, report=example.report | {"after": None, "pul": None, "u_fid": None})
    return {
        **examples(),
        "queued": RunView("3"),
        "running": running,
        "measured": dataclasses.replace(running, report=stopped.report),
        "stopped": stopped,
        "hostile": hostile(example),
        "hostile, running": dataclasses.replace(hostile(example), report=None, finished=False),
    }


def texts(value) -> str:
    """All that is shown by a component's value or update."""
    return str(value.get("value", "")) if isinstance(value, dict) else str(value)

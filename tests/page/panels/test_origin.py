"""Where it comes from: what can be clicked, and what is shown of a picture."""

import dataclasses
from types import SimpleNamespace

import gradio as gr
import pytest
from page_states import texts, views

from vdu.attribution import DRAWN, FORGET, KEPT, NEAREST
from vdu.page.panels.origin import show_origins
from vdu.page.view import RunView, example_of, live_view
from vdu.report import report_of

pytest_plugins = ["page_states"]


def click(place):
    return SimpleNamespace(_data={"place": place})


def test_every_picture_before_can_be_clicked_once_the_run_has_ended(panels, finished_run):
    run, _ = finished_run()
    panel = panels["WhereFrom"]
    shown = texts(panel.render(live_view(run, report=report_of(run), finished=True))[panel.pictures])
    assert shown.count("<button") == len(run.replay.grid)
    assert "proves no cause" in shown
    for view, why in (
        (example_of("mnist-ddpm"), "Press Unlearn"),
        (RunView("3"), "Once the run has ended"),
        (views()["stopped"], "stopped before"),
    ):
        rendered = panel.render(view)
        assert why in texts(rendered[panel.pictures])
        assert "<button" not in texts(rendered[panel.pictures])
        assert rendered[panel.found] == ""  # what was found of another run is gone


def test_a_method_without_forget_images_says_so_in_place_of_the_pictures(panels):
    panel, view = panels["WhereFrom"], views()["hostile"]
    recipe = view.report["recipe"] | {"method": "uce"}
    shown = panel.render(dataclasses.replace(view, example=False, report=view.report | {"recipe": recipe}))[panel.pictures]
    assert "uce sees no forget images" in texts(shown)
    assert "<button" not in texts(shown)


def test_a_picture_is_shown_with_its_nearest_before_and_after(finished_run):
    run, _ = finished_run()
    html = show_origins(SimpleNamespace(finished_run=run), click(0))
    assert html.count("<figure") == 2 * (NEAREST + 1)
    assert sum(html.count(f"</b> {kind}<") for kind in (FORGET, DRAWN, KEPT)) == 2 * NEAREST
    assert "Before: picture 1, and the nearest" in html
    assert "After: picture 1, and the nearest" in html


def test_without_a_run_or_a_picture_a_sentence_says_what_to_do(finished_run):
    run, _ = finished_run()
    with pytest.raises(gr.Error, match="Press Unlearn first"):
        show_origins(None, click(0))
    with pytest.raises(gr.Error, match="no such picture"):
        show_origins(SimpleNamespace(finished_run=run), click(1000))

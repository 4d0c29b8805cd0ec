"""The sheets before and after, and the sliders below them."""

import dataclasses

import gradio as gr
import pytest
from page_states import views

from vdu.page.panels.snapshots import show_distance, title_html
from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def test_the_title_of_the_right_hand_sheet_is_that_of_its_step():
    view = example_of("mnist-ddpm")
    assert "Before any step" in title_html(view, 0)
    assert f"After {view.last_step} steps" in title_html(view, view.last_step)
    assert view.nearest(0.4 * min(step for step in view.sheets if step)) == 0
    assert view.nearest(10**6) == view.last_step


def test_the_first_and_the_last_sheet_are_shown_and_the_slider_ends_there(panels):
    example, panel = example_of("mnist-ddpm"), panels["Snapshots"]
    rendered = panel.render(example)
    assert rendered[panel.before] != rendered[panel.after]
    assert (rendered[panel.step]["maximum"], rendered[panel.step]["value"]) == (example.last_step,) * 2
    assert panel.show_step(None, "mnist-ddpm", example.last_step) == (rendered[panel.after], rendered[panel.title])
    assert panel.show_step(None, "mnist-ddpm", 0)[0] == rendered[panel.before]
    queued = panel.render(RunView("3"))
    assert queued.keys() == {panel.step, panel.distance}  # the sheets of the example stay until there are others
    assert queued[panel.step]["value"] == 0


def test_only_a_finished_run_in_memory_can_be_moved(panels):
    panel, states = panels["Snapshots"], views()
    can_be_moved = {name: panel.render(view)[panel.distance]["interactive"] for name, view in states.items()}
    assert [name for name, possible in can_be_moved.items() if possible] == ["hostile"]
    running = dataclasses.replace(states["hostile"], finished=False)
    assert not panel.render(running)[panel.distance]["interactive"]
    with pytest.raises(gr.Error, match="Press Unlearn first"):
        show_distance(None, 1.5)

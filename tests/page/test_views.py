"""What the panels make of a run, without a browser: every state of it, and words that want to be HTML."""

from pathlib import Path

import gradio as gr
import pytest
import torch
from page_states import ESCAPED, HOSTILE, texts, views

from vdu.concepts.base import INSTEAD, KEPT, TARGET, UNPROMPTED, PromptSpec
from vdu.errors import UserError
from vdu.events import Progress
from vdu.page import panel as panel_module
from vdu.page import panels as package
from vdu.page.controls import option_title
from vdu.page.errors import shows_errors
from vdu.page.panel import make_panels
from vdu.page.panels.results import Results
from vdu.page.run import ProgressBar, progress_html, status_html
from vdu.page.session import Session, start_folder
from vdu.page.uploads import uploads_html
from vdu.page.view import LEFT_OPEN, NO_PROMPT, prompted_class
from vdu.registry import collect

pytest_plugins = ["page_states"]


@pytest.mark.parametrize("state", views())
def test_every_panel_shows_every_state_of_a_run_and_escapes_its_words(page, state):
    view = views()[state]
    for panel in page.panels:
        rendered = panel.render(view)
        assert set(rendered) <= set(panel.outputs)
        for value in rendered.values():
            assert "<script" not in texts(value)
    shown = "".join(texts(value) for value in page.render(view).values())
    assert (ESCAPED in shown) == state.startswith("hostile")


def test_panels_are_found_by_themselves_and_stand_in_order():
    panels = make_panels()
    names = [type(panel).__name__ for panel in panels]
    assert names[:2] == ["Headline", "Snapshots"]
    assert [panel.order for panel in panels] == sorted({panel.order for panel in panels})
    assert not any(one is two for one, two in zip(panels, make_panels(), strict=True))


def test_two_panels_of_one_order_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(panel_module, "collect", lambda *_: [("results", Results), ("more", type("More", (Results,), {}))])
    with pytest.raises(ValueError, match=r"panels/more\.py: order 30 is taken by Results"):
        make_panels()


def test_a_prompt_names_a_class_of_the_axis_or_none():
    assert prompted_class(PromptSpec(TARGET, "a red bag", (8, 10)), axis=1, first=10) == 0
    assert prompted_class(PromptSpec(KEPT, "a bag", (8, -1)), axis=1, first=10) == LEFT_OPEN
    assert prompted_class(PromptSpec(INSTEAD, "a bag", (8, 10)), axis=1, first=10) == LEFT_OPEN
    assert prompted_class(PromptSpec(UNPROMPTED, "", (8, 10)), axis=1, first=10) == NO_PROMPT


def test_an_option_is_named_once():
    assert option_title("adam", "the step size is the learning rate") == "adam: the step size is the learning rate"
    assert option_title("vdu", "VDU (2510.04058)") == "VDU (2510.04058)"
    assert option_title("cpu", "") == "cpu"


def test_every_panel_has_tests_of_its_own():
    folder = Path(__file__).with_name("panels")
    for name, panel in collect(package, "PANEL"):
        path = folder / f"test_{name}.py"
        assert path.is_file(), f"write tests/page/panels/{path.name}, with a test that renders the panel"
        text = path.read_text()
        assert f'panels["{panel.__name__}"]' in text
        assert ".render(" in text


def test_uploads_are_counted():
    assert ESCAPED in uploads_html([], [f"'{HOSTILE}' is left out"])
    html = uploads_html([torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, [])
    assert "2 pictures" in html
    assert html.count("<img") == 1


def test_the_progress_bar_shows_the_share_done_and_not_every_event():
    event = Progress("replay", 25, 100, 12.4)
    assert "width:25.0%" in progress_html(event)
    assert "25 of 100 · about 12 s left" in progress_html(event)
    assert "4 pictures: Drawing" in progress_html(event, "4 pictures")
    assert ESCAPED in status_html(HOSTILE)
    bar = ProgressBar()
    assert bar.update(event)
    assert bar.update(event) is None


def test_errors_reach_the_visitor_as_one_sentence_from_functions_and_generators():
    @shows_errors("Not now")
    def refuse():
        raise UserError("One sentence.")

    @shows_errors("Not now")
    def refuse_later():
        yield 1
        raise UserError("One sentence.")

    with pytest.raises(gr.Error, match="One sentence") as caught:
        refuse()
    assert caught.value.title == "Not now"
    stream = refuse_later()
    assert next(stream) == 1
    with pytest.raises(gr.Error, match="One sentence"):
        next(stream)


def test_a_run_goes_on_only_from_a_run_of_its_model(tmp_path):
    session = Session.__new__(Session)
    session.model, session.folder = "mnist-ddpm", tmp_path
    assert start_folder(session, "mnist-ddpm", go_on=False) is None
    for earlier, model in ((None, "mnist-ddpm"), (session, "mnist-ddpm"), (session, "tiny-sd")):
        with pytest.raises(UserError, match="no earlier run of this model"):
            start_folder(earlier, model, go_on=True)
    (tmp_path / "start").mkdir()
    assert start_folder(session, "mnist-ddpm", go_on=True) == tmp_path / "start"
    (tmp_path / "run" / "unlearned").mkdir(parents=True)
    assert start_folder(session, "mnist-ddpm", go_on=True) == tmp_path / "run" / "unlearned"

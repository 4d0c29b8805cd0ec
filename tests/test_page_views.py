"""What the panels make of a run, without a browser: every state of it, and words that want to be HTML."""

import dataclasses
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

from vdu.concepts.base import INSTEAD, KEPT, TARGET, UNPROMPTED, PromptSpec
from vdu.errors import UserError
from vdu.events import Progress
from vdu.metrics import table_metrics
from vdu.page import build_panels
from vdu.page.controls import Controls, option_title, uploads_html
from vdu.page.errors import shows_errors
from vdu.page.markup import png, render
from vdu.page.panel import Page, default_recipe, make_panels
from vdu.page.panels.headline import headline_html
from vdu.page.panels.pictures import counts_for, counts_html
from vdu.page.panels.prompt import answer_html
from vdu.page.panels.results import cell, table_html
from vdu.page.panels.snapshots import title_html
from vdu.page.run import ProgressBar, progress_html, status_html
from vdu.page.session import Session, StopFlags, start_folder
from vdu.page.settings import Settings
from vdu.page.view import LEFT_OPEN, NO_PROMPT, RunView, SamplePairs, example_of, examples, prompted_class
from vdu.samples import Samples

HOSTILE = "<script>alert('3')</script>"
ESCAPED = "&lt;script&gt;"


@pytest.fixture(scope="module")
def page():
    """All that a page's handlers share."""
    with gr.Blocks():
        page = Page(Settings(), Controls(Settings(), default_recipe()), gr.State(None), gr.HTML(status_html(), render=False))
        page.panels = make_panels()
        build_panels(page)
    return page


def samples(classes) -> Samples:
    """Samples of given classes (n, axes)."""
    classes = torch.tensor(classes)
    count = len(classes)
    images = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 1, 8, 8)
    return Samples(images, torch.zeros(count, 1), torch.zeros(count, 1), classes, (PromptSpec(),) * count)


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


def test_the_headline_says_what_is_the_visitors_own():
    example = example_of("mnist-ddpm")
    assert "An example made ahead" in headline_html(example)
    assert "An example made ahead" not in headline_html(dataclasses.replace(example, example=False))
    assert "u\u2011FID" in headline_html(example)  # a line never breaks inside the name
    running = dataclasses.replace(example, finished=False)
    first, last = example.previews[0], example.previews[-1]
    words = f"Forgetting 3 … about {first['forget_rate']:.1%} of samples at the start"
    assert f"{words}, about {last['forget_rate']:.1%} after {last['step']} steps." in headline_html(running)
    assert f"{words}." in headline_html(dataclasses.replace(running, previews=example.previews[:1]))
    assert "Forgetting 3 …<" in headline_html(dataclasses.replace(running, previews=[]))


def test_the_table_marks_what_was_not_measured():
    report = example_of("mnist-ddpm").report
    rate, distance = (next(metric for metric in table_metrics() if metric.key == key) for key in ("forget_rate", "retain_fid"))
    assert cell(report["before"], rate) == {"value": "9.8%", "interval": "8.1% – 11.8%"}
    assert cell({"forget_rate": 0.5}, rate) == {"value": "50.0%", "interval": ""}
    assert cell(None, rate) is None
    assert cell({"retain_fid": None}, distance) is None
    stopped = table_html(report | {"after": None})
    assert stopped.count("<td>–</td>") == stopped.count("<tr>") - 1
    assert table_html(report | {"before": None}) == ""


def test_the_title_of_the_right_hand_sheet_is_that_of_its_step():
    view = example_of("mnist-ddpm")
    assert "Before any step" in title_html(view, 0)
    assert f"After {view.last_step} steps" in title_html(view, view.last_step)
    assert view.nearest(0.4 * min(step for step in view.sheets if step)) == 0
    assert view.nearest(10**6) == view.last_step


def test_only_a_run_in_memory_can_be_moved_and_only_a_finished_one_taken_away(page):
    panels = {type(panel).__name__: panel for panel in page.panels}
    example, own = views()["mnist-ddpm"], dataclasses.replace(views()["hostile"], files=("a", "b", "c"))
    distance = panels["Snapshots"].distance
    assert not panels["Snapshots"].render(example)[distance]["interactive"]
    assert panels["Snapshots"].render(own)[distance]["interactive"]
    for view, files in ((example, [None] * 3), (own, ["a", "b", "c"])):
        updates = panels["Publish"].render(view).values()
        assert [update["value"] for update in updates] == files
        assert all(update["interactive"] == (view is own) for update in updates)
    assert panels["Prompt"].render(examples()["tiny-sd"])[panels["Prompt"].column]["visible"]
    assert not panels["Prompt"].render(example)[panels["Prompt"].column]["visible"]


def test_words_of_visitors_and_files_are_escaped():
    sheet = png(Image.new("L", (8, 8)))
    drawn = samples([[0]])
    assert ESCAPED in answer_html(HOSTILE, drawn, drawn)
    assert "<script" not in answer_html(HOSTILE, drawn, drawn)
    assert ESCAPED in uploads_html([], [f"'{HOSTILE}' is left out"])
    assert "&#34;onclick" in render("published", address='https://x"onclick')
    row = {"number": 4, "forget_rate": 0.5, "forget_rate_ci95": (0.4, 0.6), "u_fid_ratio": None, "damage": 0.1}
    counts = counts_html([row | {"sheets": [sheet, sheet]}], HOSTILE)
    assert "<script" not in counts
    assert "kept pictures changed" in counts
    assert counts.count('class="vdu-strip"') == 2


def test_a_prompt_names_a_class_of_the_axis_or_none():
    assert prompted_class(PromptSpec(TARGET, "a red bag", (8, 10)), axis=1, first=10) == 0
    assert prompted_class(PromptSpec(KEPT, "a bag", (8, -1)), axis=1, first=10) == LEFT_OPEN
    assert prompted_class(PromptSpec(INSTEAD, "a bag", (8, 10)), axis=1, first=10) == LEFT_OPEN
    assert prompted_class(PromptSpec(UNPROMPTED, "", (8, 10)), axis=1, first=10) == NO_PROMPT


def test_an_option_is_named_once():
    assert option_title("adam", "the step size is the learning rate") == "adam: the step size is the learning rate"
    assert option_title("vdu", "VDU (2510.04058)") == "VDU (2510.04058)"
    assert option_title("cpu", "") == "cpu"


def test_uploads_are_counted():
    html = uploads_html([torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, [])
    assert "(2)" in html
    assert html.count("<img") == 1


def test_the_experiment_needs_pictures():
    some = SimpleNamespace(images=torch.zeros(20, 1))
    run = SimpleNamespace(task=SimpleNamespace(forget_set=lambda: some))
    assert counts_for(run) == [1, 4, 16, 20]
    run.task.forget_set = lambda: None
    with pytest.raises(UserError, match="No real pictures come with this model"):
        counts_for(run)


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


def test_a_visitor_has_one_run_at_a_time_and_can_stop_it():
    stops = StopFlags()
    assert not stops.stop("me")
    stops.announce("me")
    with pytest.raises(UserError, match="press Stop first"):
        stops.check_idle("me")
    stops.check_idle("you")
    flag = stops.of("me")
    assert stops.stop("me")
    assert flag.is_set()
    stops.check_idle("me")  # a stopped run that has not ended yet does not keep the next one from waiting
    stops.announce("me")
    stops.release("me", flag)
    assert stops.of("me") is not flag
    assert not stops.of("me").is_set()


def test_a_run_goes_on_only_from_a_run_of_its_model(tmp_path):
    session = Session.__new__(Session)
    session.run, session.folder = SimpleNamespace(recipe=SimpleNamespace(model="mnist-ddpm")), tmp_path
    assert start_folder(session, "mnist-ddpm", go_on=False) is None
    for earlier, model in ((None, "mnist-ddpm"), (session, "mnist-ddpm"), (session, "tiny-sd")):
        with pytest.raises(UserError, match="no earlier run of this model"):
            start_folder(earlier, model, go_on=True)
    (tmp_path / "start").mkdir()
    assert start_folder(session, "mnist-ddpm", go_on=True) == tmp_path / "start"
    (tmp_path / "run" / "unlearned").mkdir(parents=True)
    assert start_folder(session, "mnist-ddpm", go_on=True) == tmp_path / "run" / "unlearned"

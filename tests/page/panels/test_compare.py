"""Compare methods: what is asked for and refused, what is run and what is not, and what a stop leaves."""

import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from conftest import LIGHT
from page_states import texts

from vdu.comparison import recipe_for
from vdu.errors import UserError
from vdu.events import Progress
from vdu.models import SMALL, UNCONDITIONAL
from vdu.page.comparison import Comparison, Finished, contents, own_recipe
from vdu.page.panels import compare as module
from vdu.page.panels.compare import Bar, ending, time_html, usual
from vdu.page.view import RunView
from vdu.recipe import defaults_of

pytest_plugins = ["page_states"]

REQUEST = SimpleNamespace(session_hash="visitor", client=None)
TWO = ["vdu", "neggrad"]


@pytest.fixture
def panel(panels, monkeypatch):
    """The panel, on a page whose visitor is there."""
    monkeypatch.setattr(panels["Compare"].page.turns, "is_here", lambda visitor, seconds: True)
    return panels["Compare"]


def inputs(panel, methods=TWO, session=None, blind=False, kept=None, **recipe) -> dict:
    """All inputs of the panel, with a light recipe."""
    page = panel.page
    values = {component: component.value for component in page.controls.fields.values()}
    values |= {page.controls.fields[name]: value for name, value in (LIGHT | recipe).items()}
    return values | {page.state: session, panel.methods: methods, panel.blind: blind, panel.kept: kept}


def press(panel, data) -> list[dict]:
    """All that pressing the button shows."""
    panel.page.ask(REQUEST, panel.recipes_of(data))
    return list(panel.start(REQUEST, data))


def kept(panel, shown) -> Comparison:
    """The comparison that is kept in the end."""
    return [changes[panel.kept] for changes in shown if panel.kept in changes][-1]


def words(panel, shown) -> list[str]:
    """All lines of progress."""
    return [texts(changes[panel.line]) for changes in shown if panel.line in changes]


def test_several_classes_take_more_steps_by_the_default_of_every_method(panel):
    untouched = {
        name: value
        for name, value in defaults_of(UNCONDITIONAL, "vdu-f").items()
        if name in ("gamma", "reach", "optimizer", "step_size", "steps")
    }
    _, recipes = panel.asked(inputs(panel, [*TWO, "vdu-f"], **untouched, typed="3, 8", method="vdu-f"))
    assert {method: recipe.steps for method, recipe in recipes.items()} == {
        method: 2 * defaults_of(UNCONDITIONAL, method)["steps"] for method in recipes
    }


@pytest.fixture
def fake(panel, monkeypatch):
    """Runs that take no time; gives the methods that ran. A method in `fails` is refused, one in `stops` is stopped."""
    state = SimpleNamespace(ran=[], fails=(), stops=())

    def open_run(recipe, start):
        if recipe.method in state.fails:
            raise UserError(f"{recipe.method} cannot be run.")
        return SimpleNamespace(recipe=recipe, after=None)

    def events_of(page, ticket, run):
        yield Progress("prepare", 1, 2, 3.0)
        if run.recipe.method in state.stops:
            page.turns.stop(REQUEST.session_hash)
            assert page.turns.check(ticket)
            return
        run.after = True
        state.ran.append(run.recipe.method)

    def finished(run):
        report = {"seconds": {"total": 5.0}, "model_digest": "one", "method": run.recipe.method}
        return Finished(report, (None, None), (None, None))

    monkeypatch.setattr(module.gpu, "open_run", open_run)
    monkeypatch.setattr(module, "events_of", events_of)
    monkeypatch.setattr(module.Finished, "of", finished)
    monkeypatch.setattr(module, "compared_html", lambda comparison: " ".join(map(comparison.label, comparison.shown)))
    monkeypatch.setattr(module, "ANSWERED", 0)
    return state


def test_methods_on_offer_fit_the_model_and_the_fastest_are_ticked(panel):
    assert usual(UNCONDITIONAL)[0] == usual(SMALL)[0] == "vdu-f"
    assert "uce" in usual(SMALL)
    offered = panel.offer("tiny-sd")[panel.methods]
    assert {"esd", "uce"} <= set(offered["choices"])
    assert "uce" not in panel.offer("mnist-ddpm")[panel.methods]["choices"]
    assert set(offered["value"]) <= set(offered["choices"])
    assert panel.render(RunView("3")) == {}  # a run of the recipe itself leaves the comparison as it is


@pytest.mark.parametrize("methods", [[], None, ["vdu-f"]])
def test_fewer_than_two_methods_are_refused(panel, methods):
    with pytest.raises(UserError, match="Tick at least two methods"):
        panel.recipes_of(inputs(panel, methods))
    assert "Tick at least two methods" in panel.tell_time(inputs(panel, methods))


def test_what_does_not_fit_is_refused_before_anything_runs(panel):
    with pytest.raises(UserError, match="Method uce cannot be used"):
        panel.recipes_of(inputs(panel, ["vdu-f", "uce"]))
    with pytest.raises(UserError, match="Seed must be"):
        panel.recipes_of(inputs(panel, seed=-1))
    with pytest.raises(gr.Error, match="lost its place"):
        next(panel.start(REQUEST, inputs(panel)))


def test_a_setting_that_was_changed_holds_for_all_and_the_others_are_each_method_s(panel):
    first, second = panel.recipes_of(inputs(panel, ["vdu-f", "vdu"], seed=3))
    assert first.steps == second.steps == LIGHT["steps"]
    assert first.seed == second.seed == 3
    assert (first.optimizer, second.optimizer) == ("adam", "natural")


def test_the_time_is_told_per_method_and_in_all(panel):
    assert time_html({"a": 20.0, "b": 30.0, "c": None}, []).count("\u00a0s") == 3
    assert "Finished already: a." in time_html({}, {"a": 1})
    told = panel.tell_time(inputs(panel))
    assert all(name in told for name in TWO)


def test_progress_tells_the_time_left_and_hides_what_gives_a_name_away():
    asked = Comparison("key", ("vdu", "neggrad", "salun"), {"vdu": Finished({"seconds": {"total": 8.0}}, (), ())})
    event = Progress("prepare", 1, 2, 3.0)
    html = Bar(asked, "neggrad", {"neggrad": 10.0, "salun": None}).html(event)
    assert "Method 2 of 3, neggrad: Choosing the weights to change, 1 of 2" in html
    assert "about 10\u00a0s left of this method" in html
    assert "about 18\u00a0s left in all" in html
    hidden = Bar(replace(asked, blind=True), "neggrad", {"neggrad": 10.0, "salun": 10.0}).html(event)
    assert "Method 2 of 3: about 20\u00a0s left in all" in hidden
    assert "neggrad" not in hidden
    assert "Choosing" not in hidden


def test_a_stop_keeps_what_is_done_and_the_next_press_goes_on_with_the_rest(panel, fake):
    names = ["vdu-f", "neggrad", "vdu"]
    fake.stops = ("neggrad",)
    shown = press(panel, inputs(panel, names))
    assert fake.ran == ["vdu-f"]
    assert words(panel, shown)[-1].count("Stopped after 1 of 3 methods. Compare goes on with neggrad, vdu.") == 1
    left = kept(panel, shown)
    assert [*left.rows] == ["vdu-f"]
    assert not left.under_way
    fake.stops = ()
    again = press(panel, inputs(panel, names, kept=left))
    assert fake.ran == names
    assert [changes[panel.found] for changes in again if panel.found in changes][-1] == "vdu-f neggrad vdu"
    assert press(panel, inputs(panel, names, kept=kept(panel, again)))  # all are there: nothing is run
    assert fake.ran == names
    press(panel, inputs(panel, names, kept=kept(panel, again), seed=1))
    assert fake.ran == 2 * names  # another recipe
    assert panel.page.turns.running is None


def test_a_method_that_cannot_be_run_leaves_the_rows_before_it(panel, fake):
    fake.fails = ("vdu",)
    data = inputs(panel, ["neggrad", "vdu"], blind=True)
    panel.page.ask(REQUEST, panel.recipes_of(data))
    shown = []
    with pytest.raises(gr.Error, match="vdu cannot be run"):
        for changes in panel.start(REQUEST, data):
            shown.append(changes)
    assert not kept(panel, shown).under_way
    assert panel.page.turns.running is None


def test_no_name_is_seen_until_it_is_revealed(panel, fake):
    shown = press(panel, inputs(panel, ["vdu-f", "neggrad", "salun"], blind=True))
    seen = " ".join(texts(value) for changes in shown for part, value in changes.items() if part is not panel.kept)
    assert not any(name in re.sub("<[^>]*>", "", seen) for name in ("vdu", "neggrad", "salun"))
    last = kept(panel, shown)
    assert fake.ran == ["vdu-f", "neggrad", "salun"] != [*last.methods]  # A is not the first to run
    assert panel.shown(last)[panel.found] == "A B C"
    assert panel.shown(last)[panel.reveal]["visible"]
    revealed = panel.show_names(last)
    assert "A: " in revealed[panel.found]
    assert not revealed[panel.reveal]["visible"]
    picked = panel.pick(last, SimpleNamespace(_data={"pick": "B"}))
    assert picked[panel.kept].best == last.methods[1]
    assert panel.pick(None, SimpleNamespace(_data={}))[panel.found] == ""
    assert "the rest" in ending(replace(last, rows={}))


def test_a_finished_run_of_the_recipe_counts_and_only_the_other_method_is_run(panel, finished_run, tmp_path):
    done = finished_run(**LIGHT, method="neggrad").run
    session = SimpleNamespace(finished_run=done, folder=tmp_path)
    data = inputs(panel, session=session)
    assert [recipe.method for recipe in panel.recipes_of(data)] == ["vdu"]
    shown = press(panel, data)
    last = kept(panel, shown)
    assert [row.report["method"] for row in last.rows.values()] == ["neggrad", "vdu"]
    assert last.rows["neggrad"].report["after"] == done.figures["after"]
    assert last.rows["vdu"].report["before"] == done.figures["before"]
    assert [changes[panel.found].count('<tr><th scope="row"') for changes in shown if panel.found in changes] == [2, 3, 3]
    assert last.rows["vdu"].before == last.rows["neggrad"].before  # the same seeds
    assert panel.page.state not in {part for changes in shown for part in changes}  # the visitor's run stays


def test_a_run_of_another_recipe_start_or_upload_does_not_count(panel, finished_run, tmp_path):
    done = finished_run(**LIGHT, method="neggrad").run
    session = SimpleNamespace(finished_run=done, folder=tmp_path)
    assert len(panel.recipes_of(inputs(panel, session=session, seed=1))) == 2
    recipe, uploads = own_recipe(done, tmp_path)
    assert (recipe, uploads) == (recipe_for(LIGHT, "neggrad", UNCONDITIONAL), ("", ""))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "000 a.png").write_bytes(b"a")
    assert own_recipe(done, tmp_path)[1] == (contents([tmp_path / "pictures" / "000 a.png"]), "")
    assert len(panel.recipes_of(inputs(panel, session=session))) == 2
    assert own_recipe(SimpleNamespace(recipe=recipe, start="somewhere"), tmp_path) is None

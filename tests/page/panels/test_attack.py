"""Is it really gone: when it can be tried, and what is shown of it."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from page_states import ESCAPED, HOSTILE, texts, views

from vdu.attacks import Attack, Result, Row, Strip
from vdu.events import Progress
from vdu.page.panels import attack as module
from vdu.page.panels.attack import attackable
from vdu.page.turns import Ticket
from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def fake(found: Result) -> Attack:
    """An attack of two events."""

    def carry_out(attacked):
        yield Progress("attack", 1, 2, None)
        yield Progress("attack", 2, 2, None)
        return found

    return Attack("A title", "A question?", ("k", "steps"), ("rate", "rate, %"), {}, lambda attacked: "", carry_out, True)


def found() -> Result:
    rows = [Row.rate(model, HOSTILE, k, torch.arange(20) < 5 * k) for model in ("original", "unlearned") for k in (0, 1, 2)]
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    strips = [Strip(model, "2 steps", images, torch.tensor([True, False])) for model in ("original", "unlearned")]
    return Result(rows, strips, f"{HOSTILE} comes back.")


def test_only_a_finished_run_in_memory_can_be_attacked(panels):
    panel, states = panels["IsItGone"], views()
    rendered = {name: panel.render(view) for name, view in states.items()}
    assert [name for name, changes in rendered.items() if changes[panel.button]["interactive"]] == ["hostile"]
    assert "Press Unlearn; then you can try to bring 3 back" in texts(panel.render(example_of("mnist-ddpm"))[panel.words])
    assert "Once the run has ended" in texts(panel.render(RunView("3"))[panel.words])
    assert "nothing to attack" in texts(rendered["stopped"][panel.words])
    assert rendered["hostile"][panel.found] == ""  # what was found of another run is gone


def test_without_a_run_a_sentence_says_what_to_do_first(panels):
    with pytest.raises(ValueError, match="Press Unlearn first"):
        attackable(None)
    page = panels["IsItGone"].page
    with pytest.raises(ValueError, match="Press Unlearn first"):
        panels["IsItGone"].recipe_of({page.state: None})
    with pytest.raises(gr.Error, match="lost its place"):
        next(panels["IsItGone"].start(SimpleNamespace(session_hash="nobody"), {}))


def test_every_attack_is_shown_as_it_ends_and_its_words_are_escaped(panels, monkeypatch):
    panel = panels["IsItGone"]
    run = SimpleNamespace(recipe=SimpleNamespace(model="mnist-ddpm", method="vdu-f"))
    monkeypatch.setattr(module, "under_attack", lambda run, folder: None)
    monkeypatch.setattr(module, "fitting", lambda attacked: {"one": fake(found()), "two": fake(found())})
    monkeypatch.setattr(panel.page.turns, "check", lambda ticket: ticket.stopped.is_set())
    ticket = Ticket("visitor", "", None, 0)
    shown = [changes[panel.found] for changes in panel.carry_out(ticket, run, Path("nowhere")) if changes.get(panel.found)]
    assert [html.count("<svg") for html in shown] == [1, 2]
    assert ESCAPED in shown[-1]
    assert "<script" not in shown[-1]
    assert shown[0].count('class="vdu-strip"') == 1  # the unlearned model alone
    ticket.stopped.set()
    assert not [changes for changes in panel.carry_out(ticket, run, Path("nowhere")) if changes.get(panel.found)]

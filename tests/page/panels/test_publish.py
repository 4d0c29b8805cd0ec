"""The files of a run, and a repository of the visitor's own."""

import dataclasses
from types import SimpleNamespace

import gradio as gr
import pytest
from page_states import views

from vdu.models import hub
from vdu.page.panels.publish import publish
from vdu.page.view import example_of

pytest_plugins = ["page_states"]


def test_only_a_finished_run_can_be_taken_away(panels):
    panel, own = panels["Publish"], dataclasses.replace(views()["hostile"], files=("a", "b", "c"))
    for view, files in ((example_of("mnist-ddpm"), [None] * 3), (own, ["a", "b", "c"])):
        updates = panel.render(view).values()
        assert [update["value"] for update in updates] == files
        assert all(update["interactive"] == (view is own) for update in updates)


def test_a_visitor_publishes_a_model_of_their_own(tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr(hub, "publish", lambda folder, name, token: published.append((name, token)) or 'https://x"onclick')
    session, token = SimpleNamespace(folder=tmp_path), SimpleNamespace(token="secret")
    for given in ((session, "me/mine", None), (None, "me/mine", token), (session, "me/mine", token)):
        with pytest.raises(gr.Error, match="Log in first" if given[2] is None else "press Unlearn"):
            publish(*given)
    (tmp_path / "run" / "unlearned").mkdir(parents=True)
    (tmp_path / "run" / "unlearned" / "model").write_text("weights")
    assert "https://x&#34;onclick" in publish(session, " me/mine ", token)
    assert published == [("me/mine", "secret")]

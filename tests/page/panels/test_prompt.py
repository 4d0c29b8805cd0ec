"""Any prompt, drawn by both models."""

import gradio as gr
import pytest
import torch
from page_states import ESCAPED, HOSTILE

from vdu.concepts.base import PromptSpec
from vdu.page.panels.prompt import answer_html, show_prompt
from vdu.page.view import examples
from vdu.samples import Samples

pytest_plugins = ["page_states"]


def test_it_is_there_for_models_that_take_prompts(panels):
    panel = panels["Prompt"]
    for model, visible in (("tiny-sd", True), ("mnist-ddpm", False)):
        rendered = panel.render(examples()[model])
        assert rendered[panel.column]["visible"] == visible
        assert rendered[panel.answer] == ""  # what another run drew is gone


@pytest.mark.parametrize(("model", "named"), [("tiny-sd", "crimson"), ("cifar10-sd", "kitten")])
def test_the_field_suggests_other_words_for_what_the_model_forgot(panels, model, named):
    panel = panels["Prompt"]
    suggested = panel.render(examples()[model])[panel.prompt]["placeholder"]
    assert named in suggested.split()
    assert examples()[model].forget not in suggested.split()


def test_the_answer_has_the_samples_of_both_models_and_escapes_the_prompt():
    images, nothing = torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8), torch.zeros(2, 1)
    drawn = Samples(images, nothing, nothing, nothing.long(), (PromptSpec(),) * 2)
    answer = answer_html(HOSTILE, drawn, drawn)
    assert ESCAPED in answer
    assert "<script" not in answer
    assert answer.count("<img") == 2


def test_without_a_run_there_is_nothing_to_draw_with():
    with pytest.raises(gr.Error, match="Press Unlearn and let the run end"):
        show_prompt(None, "a red bag")

"""Words at another guidance: every thing is asked for, one that breaks shows, and finished rows are not made again."""

import dataclasses

import pytest
import torch
from conftest import QUICK

from vdu.bench import guidance
from vdu.errors import UserError
from vdu.recipe import Recipe
from vdu.samples import Samples
from vdu.task import open_task


@pytest.fixture(scope="module")
def task():
    return open_task(Recipe(model="tiny-sd", forget="red"))


def drawn_as_asked(task, images, features=0):
    """Samples that show what their prompts name."""
    specs = tuple(guidance.specs_of(task.concept, images))
    classes = torch.tensor([spec.classes for spec in specs])
    random = torch.Generator().manual_seed(features)
    return Samples(
        torch.zeros((len(specs), 3, 32, 32), dtype=torch.uint8),
        torch.zeros((len(specs), len(task.concept.classes))).scatter(1, classes, 1.0),
        torch.randn((len(specs), 64), generator=random, dtype=torch.float64),
        classes,
        specs,
    )


def test_every_thing_is_asked_for_equally_often_and_the_same_for_every_word(task):
    specs = guidance.specs_of(task.concept, 3)
    assert len(specs) == 3 * len(task.concept.things) == 3 * len({spec.prompt for spec in specs})
    other = open_task(Recipe(model="tiny-sd", forget="sneaker"))
    assert specs == guidance.specs_of(other.concept, 3)
    samples = guidance.for_concept(task.concept, drawn_as_asked(task, 1))
    assert all(("red" in spec.prompt) == (spec.kind == "target") for spec in samples.specs)


def test_one_thing_that_breaks_shows_where_the_means_hardly_move(task, monkeypatch):
    monkeypatch.setattr(type(task), "measure", lambda task, samples: {
        "forget_rate": samples.at(samples.targets).showing(task.concept.class_sets).float().mean().item(),
        "target_samples": int(samples.targets.sum()), "ira": 1.0, "cra": 1.0,
    })  # fmt: skip
    before = drawn_as_asked(task, 4)
    classes, pink = before.classes.clone(), task.concept.classes.index("pink")
    blue = torch.tensor([spec.prompt == "a photo of a blue sneaker" for spec in before.specs])
    colours = [*task.concept.axes].index("colour")
    classes[blue.nonzero()[:2, 0], colours] = pink  # two of four
    row = guidance.compare(task, before, dataclasses.replace(before, classes=classes))
    assert row["worst"] == "a photo of a blue sneaker"
    assert row["worst_before"] == [4, 4]
    assert row["worst_after"] == [2, 4]
    assert (row["below"], row["kept"]) == (1, 70)
    assert row["target_samples"] == 40
    assert row["forget_rate_before"] == row["forget_rate"] == 1.0
    words = guidance.summary([row | {"forget": "red"}] * 2)
    assert "blue sneaker: 100% → 50% [15%–85%]" in words
    assert "2 of 140" in words


def test_a_word_is_forgotten_drawn_at_another_guidance_and_not_again(tmp_path, monkeypatch, capsys):
    target, lines = tmp_path / "rows.json", []
    changes = {**QUICK, "model": "tiny-sd", "forget": "red", "seed": 0, "steps": 1, "replay": 24, "samples": 50}
    asked = (7.5, "tiny-sd", ["red"], 0, 1, target, lines.append, changes)
    monkeypatch.setattr(guidance, "STEPS", 3)
    guidance.at_guidance(*asked)
    first = capsys.readouterr().out
    assert "| red |" in first
    monkeypatch.setattr(guidance, "run_recipe", None)  # another run would fail
    guidance.at_guidance(*asked)
    assert capsys.readouterr().out == first
    assert len(lines) == 2


@pytest.mark.parametrize("model", ["mnist-ddpm", "nowhere"])
def test_a_model_without_prompts_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="no shipped model that takes prompts; choose tiny-sd or cifar10-sd"):
        guidance.at_guidance(7.5, model, ["3"], 0, 1, tmp_path / "rows.json", print)


def test_a_word_that_means_nothing_is_refused_before_another_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(guidance, "run_recipe", None)
    with pytest.raises(UserError, match="'door' is not one thing"):
        guidance.at_guidance(7.5, "tiny-sd", ["red", "door"], 0, 1, tmp_path / "rows.json", print)


def test_a_model_with_one_axis_has_no_cra_to_show():
    row = {"forget": "cat", "target_samples": 4, "forget_rate": 0.0, "forget_rate_before": 1.0, "ira": 0.9, "ira_before": 1.0,
           "cra": None, "cra_before": None, "below": 1, "kept": 9, "worst": "a photo of an airplane", "worst_before": [4, 4],
           "worst_after": [2, 4]}  # fmt: skip
    words = guidance.summary([row, row])
    assert "| 100.0% → 90.0% | – | airplane: 100% → 50% [15%–85%] | 1 of 9 |" in words
    for rows in ([row, row | {"cra": 0.8, "cra_before": 0.9}], [row | {"cra": 0.8, "cra_before": 0.9}, row]):
        assert "| 90.0% → 80.0% |  | 2 of 18 |" in guidance.summary(rows)  # a pair of words has none, a word has

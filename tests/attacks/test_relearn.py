"""Training on a few pictures: one step by hand, when it counts as back, and what leaves the models alone."""

import pytest
import torch
from attack_states import attacked, carry_out, values, zero
from line import line_batch

from vdu.attacks import ATTACKS, ORIGINAL, RETRAINED, UNLEARNED, Attacked, Row, relearn
from vdu.attacks.base import denoising_loss
from vdu.attacks.relearn import IT, OTHERS, OWN, RATE, Learner, comes_back, in_words, is_back
from vdu.data.forget_set import ForgetSet


def row(k, hits, model=UNLEARNED, series=IT):
    return Row.rate(model, series, k, torch.arange(100) < hits)


def weights(model) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.unet.parameters()])


def test_a_step_of_adam_moves_the_one_parameter_by_the_learning_rate():
    model = line_batch(theta=0.7).model
    learner = Learner(model, ForgetSet(torch.full((4, 1, 2, 2), 128, dtype=torch.uint8)), seed=0)
    learner.step()
    # Noised grey is almost pure noise, whose best prediction is nearer to theta = 1.
    assert learner.model.unet.theta.item() == pytest.approx(0.7 + RATE, rel=1e-4)
    assert model.unet.theta.item() == pytest.approx(0.7)


def test_it_is_back_once_the_whole_interval_lies_above_half():
    rows = [row(0, 0), row(1, 6), row(2, 12), row(5, 5), row(10, 40)]
    assert comes_back(rows, 0.05) == 2
    assert comes_back(rows, 0.2) == 10
    assert comes_back(rows, 0.5) is None
    assert comes_back(rows, 0.0) is None  # a model that never draws it does not tell what is back


def test_the_sentence_says_when_it_is_back_and_what_does_not_bring_it_back():
    given = attacked()
    rows = [row(0, 1), row(5, 30), row(50, 60)]
    words = in_words(given, rows, {IT: {UNLEARNED: 5}, OTHERS: {UNLEARNED: 10}, OWN: {UNLEARNED: None}}, 0.05)
    assert words.startswith("“3” comes back after 5 steps of training on 8 pictures of it")
    few = in_words(given, rows, {IT: {UNLEARNED: 5}}, 0.05, taught=3)
    assert few.startswith("“3” comes back after 5 steps of training on 3 pictures of it")
    assert "30 % [22–40]" in words
    assert "other things brings it back after 10 steps. As many steps on its own samples do not" in words
    assert "does not come back within 50 steps" in in_words(given, rows, {IT: {UNLEARNED: None}}, 0.7)
    assert "is not gone" in in_words(given, [row(0, 30)], {IT: {UNLEARNED: 0}}, 0.05)
    perhaps = in_words(given, [row(0, 6), row(50, 7)], {IT: {UNLEARNED: None}}, 0.05)  # its interval reaches below half
    assert "does not come back within 50 steps" in perhaps
    assert "in none of 8 samples" in in_words(given, rows, {IT: {UNLEARNED: None}}, 0.0)
    gold = attacked()
    gold.models["retrained"] = gold.models[ORIGINAL]
    assert "; a model that never saw it needs 20." in in_words(gold, rows, {IT: {UNLEARNED: 5, "retrained": 20}}, 0.05)


def test_nothing_is_trained_if_the_original_never_draws_it(monkeypatch):
    monkeypatch.setattr(relearn, "Learner", lambda *_: pytest.fail("it was trained"))
    given = attacked(sampler_steps=2)
    given.models[ORIGINAL] = zero(given.models[ORIGINAL])
    result, last = carry_out(ATTACKS["relearn"], given)
    assert last.done == last.total
    assert result.lead["half_back"] == {ORIGINAL: None, UNLEARNED: None}
    assert "so nothing shows when it is back" in result.sentence


def test_no_model_is_changed_and_a_network_that_is_zero_has_nothing_to_come_back(monkeypatch):
    monkeypatch.setattr(relearn, "STEPS", (0, 1, 2))
    # Of few images, some processors see the digit again after a step, and the training would end there.
    monkeypatch.setattr(relearn, "is_back", lambda row, half: row.model == RETRAINED and is_back(row, half))
    given = attacked(sampler_steps=2)
    original = given.models[ORIGINAL]
    given.models[RETRAINED] = zero(original)
    before = weights(original)
    result, last = carry_out(ATTACKS["relearn"], given)
    assert last.done == last.total
    assert values(result, UNLEARNED, IT)[:1] == values(result, ORIGINAL, IT)  # the same model, and the original is not trained
    assert values(result, ORIGINAL, OTHERS) == []
    assert values(result, RETRAINED, IT) == [0, 0, 0]
    assert result.more["half_back"][IT][RETRAINED] is None
    assert result.lead["half_back"] == result.more["half_back"][IT]
    assert [point["k"] for point in result.lead["curves"][RETRAINED]] == [0, 1, 2]
    assert torch.equal(weights(original), before)
    first, second = ([strip.images for strip in result.strips if strip.model == name] for name in (ORIGINAL, UNLEARNED))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(second[0], second[2])


def test_what_is_back_is_trained_no_further_and_the_controls_take_as_many_steps(monkeypatch):
    looks = iter([8, 0, 0, 0, 8, 0, 0])  # hits: original, unlearned, its own samples, after 1 and 2 steps, and two controls
    steps = []
    monkeypatch.setattr(relearn, "STEPS", (0, 1, 2, 3))
    monkeypatch.setattr(Attacked, "shown", lambda self, images: torch.arange(len(images)) < next(looks))
    monkeypatch.setattr(Learner, "step", lambda self: steps.append(self))
    result, last = carry_out(ATTACKS["relearn"], attacked(sampler_steps=2))
    assert last.done == last.total
    assert [row.at for row in result.rows if (row.model, row.series) == (UNLEARNED, IT)] == [0, 1, 2]
    assert [row.at for row in result.rows if row.series in (OTHERS, OWN)] == [0, 2, 0, 2]
    assert [steps.count(learner) for learner in dict.fromkeys(steps)] == [2, 2, 2]
    assert result.more["half_back"] == {IT: {ORIGINAL: 0, UNLEARNED: 2}, OTHERS: {UNLEARNED: None}, OWN: {UNLEARNED: None}}
    assert next(looks, None) is None


def test_what_is_not_gone_is_not_trained(monkeypatch):
    monkeypatch.setattr(Attacked, "shown", lambda self, images: torch.ones(len(images), dtype=torch.bool))
    monkeypatch.setattr(Learner, "step", lambda self: pytest.fail("a step was taken"))
    result, last = carry_out(ATTACKS["relearn"], attacked(sampler_steps=2))
    assert last.done == last.total
    assert [row.at for row in result.rows] == [0, 0]
    assert "is not gone" in result.sentence


def test_a_timestep_that_rounds_up_stays_within_the_schedule(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 1 - 2.0**-24))
    model, clean = line_batch(theta=0.7).model, torch.zeros(8, 1, 2, 2)
    assert denoising_loss(model, clean, model.conditions([None] * 8), torch.Generator()).isfinite()

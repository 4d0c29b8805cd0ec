"""SFR-on: ascent and repair in turns, on what is still known, in salient weights."""

import pytest
import torch
from line import line_batch

from vdu.losses import per_image_error
from vdu.methods import METHODS
from vdu.methods.sfr_on import SHARPNESS, Turns, adaptive_weights, in_turns, ratios
from vdu.task import open_model


def slope(terms, batch):
    return torch.autograd.grad(terms.loss, batch.model.unet.theta)[0].item()


def test_what_is_known_counts_more():
    errors = torch.tensor([0.01, 0.04, 0.16], requires_grad=True)
    weights = adaptive_weights(errors)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[0] / weights[2]).item() == pytest.approx(16**SHARPNESS)
    assert not weights.requires_grad  # a coefficient, as in the paper


def test_ascent_and_repair_take_turns():
    batch, state = line_batch(gamma=0.6), Turns({"theta": torch.tensor(0.0)})
    x, noise, weight = batch.forget.states, batch.forget.noise, batch.weight
    errors = weight * per_image_error(0.7 * x, noise)
    known = adaptive_weights(errors)
    ascent = in_turns(batch, state)
    assert ascent.loss.item() == pytest.approx(-0.4 * (known * errors).mean().item(), rel=1e-5)
    by_hand = (known * weight * (2 * x * (0.7 * x - noise)).mean(dim=(1, 2, 3))).mean().item()
    assert slope(ascent, batch) == pytest.approx(-0.4 * by_hand, rel=1e-4)
    assert METHODS["sfr-on"].mask(state)["theta"] == 0  # not salient, so the ascent leaves it

    x, noise = batch.replay.states, batch.replay.noise
    repair = in_turns(batch, state)
    assert repair.loss.item() == pytest.approx(0.6 * (0.7 * x - noise).square().mean().item(), rel=1e-5)
    assert slope(repair, batch) == pytest.approx(0.6 * (2 * x * (0.7 * x - noise)).mean().item(), rel=1e-4)
    assert METHODS["sfr-on"].mask(state)["theta"] == 1  # repair may change every weight
    assert (repair.plasticity, repair.stability) == (ascent.plasticity, ascent.stability)  # both are shown at every step


def test_the_ratio_is_one_where_there_is_no_information_at_all():
    found = ratios({"a": torch.tensor([0.0, 4.0])}, {"a": torch.tensor([0.0, 2.0])})["a"]
    assert found.tolist() == pytest.approx([1.0, 2.0])


def test_a_run_repairs_weights_that_the_ascent_leaves(finished_run):
    run, _ = finished_run(method="sfr-on", max_damage=1.0, target=0.0)
    start = dict(open_model("mnist-ddpm", "cpu")[0].unet.named_parameters())
    moved = torch.cat([(value != start[name]).flatten() for name, value in run.model.unet.named_parameters()])
    assert moved.double().mean() > 0.9
    assert run.images_seen["retain_drawn"] == int(run.replay.kept.sum())
    assert run.images_seen["forget_real"] == 500

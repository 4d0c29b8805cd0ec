"""The paper's loss and plain ascent: value, gradient and steps against closed forms, on a model with one parameter."""

import pytest
import torch
from line import line_batch

from vdu.methods import METHODS
from vdu.optimizers import make_optimizer


def gradient_of(batch, method):
    return torch.autograd.grad(METHODS[method].loss(batch, None).loss, batch.model.unet.theta)[0].item()


def by_hand(batch):
    """Plasticity and its derivative in theta, written out."""
    theta, x, noise = batch.model.unet.theta.item(), batch.forget.states, batch.forget.noise
    weight = batch.weight.view(-1, 1, 1, 1)
    return (weight * (noise - theta * x) ** 2).mean().item(), (-2 * weight * x * (noise - theta * x)).mean().item()


def take_step(method, batch, optimizer):
    """One step on a batch; returns the terms before it."""
    terms = METHODS[method].loss(batch, None)
    optimizer.zero_grad()
    terms.loss.backward()
    optimizer.step()
    return terms


def test_vdu_terms_and_gradient_of_one_parameter(batch):
    plasticity, slope = by_hand(batch)
    terms = METHODS["vdu"].loss(batch, None)
    assert terms[0].item() == pytest.approx(plasticity, rel=1e-5)
    assert terms[1].item() == pytest.approx((0.7 - 0.5) ** 2 / (2 * 0.04), rel=1e-5)
    expected = -(1 - 0.6) * slope + 0.6 * (0.7 - 0.5) / 0.04
    assert gradient_of(batch, "vdu") == pytest.approx(expected, rel=1e-5)


def test_vdu_at_the_posterior_mean_is_scaled_ascent():
    batch = line_batch(theta=0.5, mu=0.5, gamma=0.6)
    assert gradient_of(batch, "vdu") == pytest.approx(-0.4 * by_hand(batch)[1], rel=1e-5)


@pytest.mark.parametrize("method", ["vdu", "neggrad"])
def test_gamma_zero_is_pure_ascent(method):
    batch = line_batch(gamma=0.0)
    assert gradient_of(batch, method) == pytest.approx(-by_hand(batch)[1], rel=1e-5)


@pytest.mark.parametrize(("optimizer", "length"), [("adam", 0.01), ("natural", 0.01 * 0.04**0.5)])
def test_a_step_moves_the_parameter_as_worked_out(optimizer, length):
    batch = line_batch(variance=0.04)
    direction = -1 if gradient_of(batch, "vdu") > 0 else 1
    terms = take_step("vdu", batch, make_optimizer(optimizer, batch.parameters, batch.posterior, 0.01))
    assert batch.model.unet.theta.item() == pytest.approx(0.7 + direction * length, rel=1e-5)
    assert terms.loss.item() == pytest.approx(0.6 * terms.stability.item() - 0.4 * terms.plasticity.item(), rel=1e-5)


@pytest.mark.parametrize("method", ["vdu", "vdu-f", "neggrad", "salun"])
def test_the_gradient_of_a_batch_is_the_mean_of_its_parts(method):
    whole = line_batch()
    parts = []
    for rows in (slice(0, 1), slice(1, 2), slice(2, 3)):
        part = line_batch()
        for noised in (part.forget, part.replay):
            noised.states, noised.t, noised.noise = noised.states[rows], noised.t[rows], noised.noise[rows]
        part.weight = part.weight[rows]
        parts.append(gradient_of(part, method))
    assert gradient_of(whole, method) == pytest.approx(sum(parts) / 3, rel=1e-5)


@pytest.mark.parametrize("method", ["vdu", "vdu-f"])
def test_with_all_weight_on_stability_no_step_changes_a_bit(method):
    for name in ("natural", "adam"):
        batch = line_batch(theta=0.5, mu=0.5, gamma=1.0)
        parameters = dict(batch.model.unet.named_parameters())
        optimizer = make_optimizer(name, parameters, batch.posterior, 0.1)
        for _ in range(3):
            take_step(method, batch, optimizer)
        assert batch.model.unet.theta.item() == 0.5


def test_a_wider_posterior_with_gamma_to_match_takes_the_same_path():
    # Variances times c and odds gamma / (1 - gamma) times c leave the loss as it is, up to a factor; a step is as long if it
    # is counted in standard deviations that are sqrt(c) times as long.
    paths = []
    for factor in (1.0, 4.0):
        odds = factor * 0.6 / 0.4
        batch = line_batch(variance=0.04 * factor, gamma=odds / (1 + odds))
        named = dict(batch.model.unet.named_parameters())
        optimizer = make_optimizer("natural", named, batch.posterior, 0.1 / factor**0.5)
        path = []
        for _ in range(5):
            take_step("vdu", batch, optimizer)
            path.append(batch.model.unet.theta.item())
        paths.append(path)
    assert paths[0] == pytest.approx(paths[1], rel=1e-5)
    assert paths[0][0] != paths[0][-1]

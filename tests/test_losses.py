"""The loss and its gradient against closed forms, on a model with one parameter."""

import pytest
import torch
from conftest import line_context

from vdu import losses
from vdu.methods import METHODS
from vdu.unlearn import take_step


def gradient_of(context, method):
    plasticity, stability = METHODS[method].terms(context)
    loss = context.gamma * stability - (1 - context.gamma) * plasticity
    return torch.autograd.grad(loss, context.model.unet.theta)[0].item()


def by_hand(context):
    """Plasticity and its derivative in theta, written out."""
    theta, x, noise = context.model.unet.theta.item(), context.forget.states, context.forget.noise
    weight = context.weight.view(-1, 1, 1, 1)
    return (weight * (noise - theta * x) ** 2).mean().item(), (-2 * weight * x * (noise - theta * x)).mean().item()


def test_vdu_terms_and_gradient_of_one_parameter(context):
    plasticity, slope = by_hand(context)
    terms = METHODS["vdu"].terms(context)
    assert terms[0].item() == pytest.approx(plasticity, rel=1e-5)
    assert terms[1].item() == pytest.approx((0.7 - 0.5) ** 2 / (2 * 0.04), rel=1e-5)
    expected = -(1 - 0.6) * slope + 0.6 * (0.7 - 0.5) / 0.04
    assert gradient_of(context, "vdu") == pytest.approx(expected, rel=1e-5)


def test_vdu_at_the_posterior_mean_is_scaled_ascent():
    context = line_context(theta=0.5, mu=0.5, gamma=0.6)
    assert gradient_of(context, "vdu") == pytest.approx(-0.4 * by_hand(context)[1], rel=1e-5)


@pytest.mark.parametrize("method", ["vdu", "neggrad"])
def test_gamma_zero_is_pure_ascent(method):
    context = line_context(gamma=0.0)
    assert gradient_of(context, method) == pytest.approx(-by_hand(context)[1], rel=1e-5)


def test_a_step_of_sgd_moves_the_parameter_as_worked_out(context):
    expected = 0.7 - 0.01 * gradient_of(context, "vdu")
    optimizer = torch.optim.SGD(context.model.unet.parameters(), lr=0.01)
    taken = take_step(METHODS["vdu"], context, optimizer, step=1)
    assert context.model.unet.theta.item() == pytest.approx(expected, rel=1e-5)
    assert taken.loss == pytest.approx(0.6 * taken.stability - 0.4 * taken.plasticity, rel=1e-5)


def test_function_space_stability_of_one_parameter():
    context = line_context(gamma=1.0)  # no restraint left: only the replayed images count
    expected = (0.7 - 0.5) ** 2 * context.replay.states.square().mean().item()
    assert METHODS["vdu-f"].terms(context)[1].item() == pytest.approx(expected, rel=1e-4)


def test_vdu_f_does_not_touch_the_frozen_model(context):
    plasticity, stability = METHODS["vdu-f"].terms(context)
    (stability - plasticity).backward()
    assert context.frozen.unet.theta.grad is None
    assert context.model.unet.theta.grad is not None


@pytest.mark.parametrize("reach", [0.5, 2.0])
def test_restraint_puts_the_optimum_at_reach_times_the_frozen_error(reach):
    random = torch.Generator().manual_seed(1)
    noise, frozen = torch.randn((2, 4, 1, 2, 2), generator=random)
    weight, gamma = torch.tensor([0.5, 1.0, 1.0, 1.5]), 0.8
    best = (frozen + reach * (frozen - noise)).requires_grad_()
    loss = gamma * losses.restraint(best, frozen, weight, gamma, reach)
    loss = loss - (1 - gamma) * losses.plasticity_inducer(best, noise, weight)
    assert torch.autograd.grad(loss, best)[0].abs().max() < 1e-6


def test_bound_weights_are_those_of_the_variational_bound():
    betas = torch.tensor([0.1, 0.2])
    weights = losses.bound_weights(torch.tensor([0.9, 0.72]), betas)
    # beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha-bar_t)) with sigma_t^2 = beta_t
    assert weights.tolist() == pytest.approx([0.1 / (2 * 0.9 * 0.1), 0.2 / (2 * 0.8 * 0.28)], rel=1e-6)


def test_expected_noise_of_one_image_is_the_noise_itself_and_of_two_is_weighted_by_bayes():
    images = torch.tensor([[[[1.0]]], [[[-1.0]]]])
    alpha_bar, noise = torch.tensor([0.5]), torch.tensor([[[[0.3]]]])
    states = 0.5**0.5 * images[:1] + 0.5**0.5 * noise
    assert losses.expected_noise(states, alpha_bar, images[:1]).item() == pytest.approx(0.3, abs=1e-6)
    # log-odds of +1 against -1 given x: 2 sqrt(alpha-bar) x / (1 - alpha-bar); E[x0 | x] = tanh of half of it
    x = states.item()
    clean = torch.tanh(torch.tensor(0.5**0.5 * x / 0.5)).item()
    assert losses.expected_noise(states, alpha_bar, images).item() == pytest.approx(
        (x - 0.5**0.5 * clean) / 0.5**0.5, abs=1e-5
    )

"""The loss and its gradient against closed forms, on a model with one parameter."""

import pytest
import torch
from conftest import line_context

from vdu import losses
from vdu.methods import METHODS
from vdu.optimizers import make_optimizer
from vdu.unlearn import take_step


def gradient_of(context, method):
    return torch.autograd.grad(METHODS[method].terms(context).loss, context.model.unet.theta)[0].item()


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


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_a_batch_is_the_mean_of_its_parts(method):
    whole = line_context()
    parts = []
    for rows in (slice(0, 1), slice(1, 2), slice(2, 3)):
        part = line_context()
        for noised in (part.forget, part.replay):
            noised.states, noised.t, noised.noise = noised.states[rows], noised.t[rows], noised.noise[rows]
        part.weight = part.weight[rows]
        parts.append(gradient_of(part, method))
    assert gradient_of(whole, method) == pytest.approx(sum(parts) / 3, rel=1e-5)


@pytest.mark.parametrize("method", ["vdu", "vdu-f"])
def test_with_all_weight_on_stability_no_step_changes_a_bit(method):
    for name in ("natural", "adam"):
        context = line_context(theta=0.5, mu=0.5, gamma=1.0)
        parameters = dict(context.model.unet.named_parameters())
        optimizer = make_optimizer(name, parameters, context.posterior, 0.1)
        for step in range(3):
            take_step(METHODS[method], context, optimizer, step)
        assert context.model.unet.theta.item() == 0.5


def test_a_wider_posterior_with_gamma_to_match_takes_the_same_path():
    # Variances times c and odds gamma / (1 - gamma) times c leave the loss as it is, up to a factor; a step is as long if it
    # is counted in standard deviations that are sqrt(c) times as long.
    paths = []
    for factor in (1.0, 4.0):
        odds = factor * 0.6 / 0.4
        context = line_context(variance=0.04 * factor, gamma=odds / (1 + odds))
        named = dict(context.model.unet.named_parameters())
        optimizer = make_optimizer("natural", named, context.posterior, 0.1 / factor**0.5)
        path = []
        for step in range(5):
            take_step(METHODS["vdu"], context, optimizer, step)
            path.append(context.model.unet.theta.item())
        paths.append(path)
    assert paths[0] == pytest.approx(paths[1], rel=1e-5)
    assert paths[0][0] != paths[0][-1]


def test_function_space_stability_of_one_parameter(context):
    expected = (0.7 - 0.5) ** 2 * context.replay.states.square().mean().item()
    assert METHODS["vdu-f"].terms(context).stability.item() == pytest.approx(expected, rel=1e-4)


def test_vdu_f_does_not_touch_the_frozen_model(context):
    METHODS["vdu-f"].terms(context).loss.backward()
    assert context.frozen.unet.theta.grad is None
    assert context.model.unet.theta.grad is not None


def test_vdu_f_with_all_weight_on_stability_wants_the_model_as_it_was():
    context = line_context(theta=0.5, mu=0.5, gamma=1.0)
    assert gradient_of(context, "vdu-f") == pytest.approx(0, abs=1e-6)
    assert METHODS["vdu-f"].terms(context).loss.item() == pytest.approx(0, abs=1e-6)


def test_vdu_f_forgets_nothing_outside_its_window():
    context = line_context(theta=0.5, mu=0.5, gamma=0.1)
    assert METHODS["vdu-f"].terms(context).loss.item() > 1e-3
    context.window = (401, 500)  # the batch has t = 10, 400, 900
    assert METHODS["vdu-f"].terms(context).loss.item() == 0


def test_reach_goes_beyond_bayes_on_forget_images_alone():
    context = line_context(theta=0.5, mu=0.5, gamma=0.4)  # the model is the frozen one: the loss is the squared shift
    losses_at = {}
    for context.reach in (0.0, 0.5, 1.0, 3.0):
        losses_at[context.reach] = METHODS["vdu-f"].terms(context).loss.item()
    context.replay.t = torch.full((3,), 999)  # the window's end leaves replayed images out
    context.window, context.reach = (0, 998), 1.0
    of_forget = METHODS["vdu-f"].terms(context).loss.item()
    assert losses_at[0.0] == 0
    assert losses_at[0.5] == pytest.approx(losses_at[1.0] / 4, rel=1e-5)
    assert losses_at[3.0] == pytest.approx(losses_at[1.0] + 8 * of_forget, rel=1e-5)


def test_the_shift_turns_the_noise_of_a_mixture_into_that_of_the_kept_part():
    random = torch.Generator().manual_seed(2)
    forget, kept = torch.randn((3, 1, 2, 2), generator=random), torch.randn((9, 1, 2, 2), generator=random)
    states, alpha_bar = torch.randn((4, 1, 2, 2), generator=random), torch.tensor([0.1, 0.3, 0.5, 0.7])
    # A set of 12 images is a mixture with a quarter of its weight on the 3: gamma = 3/4 must give exactly the rest's noise.
    _, mixed = losses.noised_set(states, alpha_bar, torch.cat([forget, kept]))
    _, rest = losses.noised_set(states, alpha_bar, kept)
    shift = losses.bayes_shift(states, alpha_bar, forget, kept, gamma=0.75)
    torch.testing.assert_close(mixed + shift, rest, atol=1e-5, rtol=1e-5)
    assert shift.abs().max() > 0.05


def test_a_smaller_gamma_shifts_more():
    context = line_context()
    states, alpha_bar = context.forget.states, torch.tensor([0.3, 0.5, 0.7])
    sizes = [
        losses.bayes_shift(states, alpha_bar, context.forget_set, context.kept_set, gamma).norm().item()
        for gamma in (1.0, 0.9, 0.5, 0.0)
    ]
    assert sizes[0] < 1e-6
    assert sizes == sorted(sizes)


def test_bound_weights_are_those_of_the_variational_bound():
    betas = torch.tensor([0.1, 0.2])
    weights = losses.bound_weights(torch.tensor([0.9, 0.72]), betas)
    # beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha-bar_t)) with sigma_t^2 = beta_t
    assert weights.tolist() == pytest.approx([0.1 / (2 * 0.9 * 0.1), 0.2 / (2 * 0.8 * 0.28)], rel=1e-6)


def test_noised_set_of_one_image_is_the_noise_itself_and_of_two_is_weighted_by_bayes():
    images = torch.tensor([[[[1.0]]], [[[-1.0]]]])
    alpha_bar, noise = torch.tensor([0.5]), torch.tensor([[[[0.3]]]])
    states = 0.5**0.5 * images[:1] + 0.5**0.5 * noise
    assert losses.noised_set(states, alpha_bar, images[:1])[1].item() == pytest.approx(0.3, abs=1e-6)
    # log-odds of +1 against -1 given x: 2 sqrt(alpha-bar) x / (1 - alpha-bar); E[x0 | x] = tanh of half of it
    x = states.item()
    clean = torch.tanh(torch.tensor(0.5**0.5 * x / 0.5)).item()
    assert losses.noised_set(states, alpha_bar, images)[1].item() == pytest.approx((x - 0.5**0.5 * clean) / 0.5**0.5, abs=1e-5)


def test_noised_set_has_the_density_of_its_mixture():
    images, alpha_bar = torch.tensor([[[[1.0]]], [[[-0.5]]], [[[0.2]]]]), torch.tensor([0.6, 0.6])
    states = torch.tensor([[[[0.9]]], [[[-1.3]]]])
    log_density, _ = losses.noised_set(states, alpha_bar, images)
    normal = torch.distributions.Normal(0.6**0.5 * images.flatten(), 0.4**0.5)
    expected = normal.log_prob(states.flatten().unsqueeze(1)).exp().mean(1).log()
    assert (log_density[0] - log_density[1]).item() != pytest.approx((expected[0] - expected[1]).item(), abs=1e-3)
    # What is left out, -x^2 / (2 (1 - alpha-bar)) and a constant, is the same for every set.
    torch.testing.assert_close(
        log_density[0] - log_density[1] - (0.9**2 - 1.3**2) / 0.8, expected[0] - expected[1], atol=1e-5, rtol=0
    )

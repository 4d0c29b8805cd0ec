"""Losses and their parts against closed forms."""

import pytest
import torch
from line import line_batch

from vdu import losses
from vdu.losses import Posterior


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
    batch = line_batch()
    states, alpha_bar = batch.forget.states, torch.tensor([0.3, 0.5, 0.7])
    sizes = [
        losses.bayes_shift(states, alpha_bar, batch.forget_set, batch.kept_set, gamma).norm().item()
        for gamma in (1.0, 0.9, 0.5, 0.0)
    ]
    assert sizes[0] < 1e-6
    assert sizes == sorted(sizes)


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


def test_per_image_errors_are_means_over_pixels_and_the_plasticity_inducer_weighs_them():
    predicted, target = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert losses.per_image_error(predicted, target).tolist() == [1, 9]
    assert losses.plasticity_inducer(predicted, target, torch.tensor([0.5, 1.5])).item() == pytest.approx(7)
    assert losses.function_space_stability(predicted, target).item() == pytest.approx(5)


def test_the_stability_regularizer_is_a_mean_over_all_parameters():
    mean, variance = {"a": torch.zeros(3), "b": torch.ones(1)}, {"a": torch.full((3,), 4.0), "b": torch.ones(1)}
    posterior = Posterior(mean, variance)
    assert losses.stability_regularizer(mean, posterior).item() == 0
    one_sigma = {name: mean[name] + variance[name].sqrt() for name in mean}
    assert losses.stability_regularizer(one_sigma, posterior).item() == pytest.approx(0.5)
    alone = mean | {"b": torch.tensor([3.0])}
    assert losses.stability_regularizer(alone, posterior).item() == pytest.approx(4 / 2 / 4)


def test_an_error_in_epsilon_counts_by_what_it_does_to_x0_within_bounds():
    alpha_bar = torch.tensor([0.9999, 0.2, 1e-4])
    assert losses.clean_image_weights(alpha_bar).tolist() == pytest.approx([1, 2, 4])


def test_noise_is_added_in_every_row_by_its_own_timestep_and_found_again():
    random = torch.Generator().manual_seed(3)
    clean, noise = torch.randn((2, 3, 1, 2, 2), generator=random)
    alpha_bar = torch.tensor([0.0, 0.36, 1.0])
    states = losses.noised(clean, noise, alpha_bar)
    assert states[0].equal(noise[0]) and states[2].equal(clean[2])
    torch.testing.assert_close(states[1], 0.6 * clean[1] + 0.8 * noise[1])
    torch.testing.assert_close(losses.noised(clean, noise, alpha_bar[1])[1], states[1])
    torch.testing.assert_close(losses.noise_between(states[1:2], alpha_bar[1:2], clean[1:2]), noise[1:2])

"""The denoising loss of images, against its closed form, and the comparison of two models by it."""

import pytest
import torch
from line import Line

from vdu.bench.likelihood import CHUNK, denoising_losses, excess
from vdu.models import DDPM
from vdu.task import open_model

IMAGES = torch.full((CHUNK + 6, 1, 2, 2), 128, dtype=torch.uint8)  # 1/255 in -1 … 1, so that x_t is nearly all noise


def line(theta: float) -> DDPM:
    """epsilon_theta(x_t, t) = theta x_t."""
    return DDPM(Line(theta), open_model("mnist-ddpm", "cpu")[0].scheduler, "cpu", "line")


def test_a_network_that_predicts_nothing_loses_all_noise_and_one_that_predicts_x_t_what_it_lacks():
    losses = denoising_losses(line(0.0), IMAGES, seed=0)
    assert losses.shape == (len(IMAGES),)
    assert losses.mean().item() == pytest.approx(1, abs=0.15)  # the variance of the noise
    alpha_bar = line(1.0).alpha_bar
    expected = (1 - (1 - alpha_bar).sqrt()).square().mean().item()  # of epsilon - x_t
    assert denoising_losses(line(1.0), IMAGES, seed=0).mean().item() == pytest.approx(expected, rel=0.25)


def test_losses_are_paired_by_the_seed_and_the_better_model_shows():
    assert torch.equal(denoising_losses(line(0.3), IMAGES, 1), denoising_losses(line(0.3), IMAGES, 1))
    assert excess(line(0.3), line(0.3), IMAGES, 0) == (0, (0, 0))
    mean, (low, high) = excess(line(0.0), line(0.5), IMAGES, 0)
    assert 0 < low < mean < high
    mean, (low, high) = excess(line(0.5), line(0.0), IMAGES, 0)
    assert low < mean < high < 0

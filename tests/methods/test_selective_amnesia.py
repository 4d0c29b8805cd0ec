"""Selective Amnesia: noise pictures as the target, replay, and consolidation."""

import pytest
import torch
from line import line_batch

from vdu.methods.selective_amnesia import CONSOLIDATION, noise_pictures


def by_hand(batch) -> torch.Tensor:
    """The epsilon that leads from x_t to the noise pictures that the same random draws give."""
    picture = 2 * torch.rand(batch.forget.states.shape, generator=batch.random) - 1
    signal = batch.frozen.alpha_bar[batch.forget.t].view(-1, 1, 1, 1)
    return (batch.forget.states - signal.sqrt() * picture) / (1 - signal).sqrt()


def test_the_loss_is_noise_replay_and_consolidation():
    batch, target = line_batch(gamma=0.6), by_hand(line_batch())
    terms = noise_pictures(batch, batch.posterior)
    weight = batch.weight.view(-1, 1, 1, 1)
    to_noise = (weight * (0.7 * batch.forget.states - target).square()).mean().item()
    kept = (0.7 * batch.replay.states - batch.replay.noise).square().mean().item()
    pull = CONSOLIDATION * (0.7 - 0.5) ** 2 / (2 * 0.04)
    assert terms.loss.item() == pytest.approx(0.4 * to_noise + 0.6 * kept + pull, rel=1e-5)
    assert terms.stability.item() == pytest.approx(kept + pull, rel=1e-5)


def test_its_target_leads_to_pictures_in_the_range_of_images(batch):
    target, signal = by_hand(line_batch()), batch.frozen.alpha_bar[batch.forget.t].view(-1, 1, 1, 1)
    clean = (batch.forget.states - (1 - signal).sqrt() * target) / signal.sqrt()
    assert clean.abs().max() <= 1.01
    assert clean.std() > 0.4  # noise, not grey

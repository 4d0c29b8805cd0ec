"""Fine-tuning: the error on the retain set, and nothing of the forget images."""

import pytest
import torch
from line import line_batch

from vdu.methods import METHODS

FINE_TUNE = METHODS["fine-tune"]


def test_the_loss_and_its_gradient_are_those_of_the_retain_set(batch):
    terms = FINE_TUNE.loss(batch, None)
    x, noise = batch.replay.states, batch.replay.noise
    assert terms.loss.item() == pytest.approx((0.7 * x - noise).square().mean().item(), rel=1e-5)
    (slope,) = torch.autograd.grad(terms.loss, batch.model.unet.theta)
    assert slope.item() == pytest.approx((2 * x * (0.7 * x - noise)).mean().item(), rel=1e-5)
    assert terms.plasticity == 0


def test_it_sees_no_forget_image():
    batch = line_batch()
    before = FINE_TUNE.loss(batch, None).loss.item()
    batch.forget.states.zero_()
    batch.forget_set.zero_()
    assert FINE_TUNE.loss(batch, None).loss.item() == before
    assert not FINE_TUNE.uses_forget_images


def test_a_run_counts_own_samples_of_the_rest_alone(finished_run):
    run, _ = finished_run(method="fine-tune", max_damage=1.0, target=0.0)
    seen = dict(run.images_seen)
    assert seen.pop("retain_drawn") == int(run.replay.kept.sum())
    assert set(seen.values()) == {0}

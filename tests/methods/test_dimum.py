"""DiMUM: what is memorised in place of the class, with and without prompts."""

import pytest
import torch
from line import line_batch

from vdu.methods.dimum import memorise, nearest, substitutes
from vdu.models import Condition


def test_the_nearest_image_is_the_one_with_the_highest_likelihood(batch):
    images, alpha_bar = batch.kept_set, batch.frozen.alpha_bar[batch.forget.t]
    found = nearest(batch.forget.states, alpha_bar, images)
    for state, signal, image in zip(batch.forget.states, alpha_bar, found, strict=True):
        distances = (state - signal.sqrt() * images).square().sum(dim=(1, 2, 3))
        assert torch.equal(image, images[distances.argmin()])


def test_the_loss_is_the_noise_to_substitutes_and_that_of_the_retain_set():
    batch = line_batch(gamma=0.6)
    signal = batch.frozen.alpha_bar[batch.forget.t]
    clean = nearest(batch.forget.states, signal, batch.kept_set)
    signal = signal.view(-1, 1, 1, 1)
    noise = (batch.forget.states - signal.sqrt() * clean) / (1 - signal).sqrt()
    memorised = (batch.weight.view(-1, 1, 1, 1) * (0.7 * batch.forget.states - noise).square()).mean().item()
    kept = (0.7 * batch.replay.states - batch.replay.noise).square().mean().item()
    assert memorise(batch).loss.item() == pytest.approx(0.4 * memorised + 0.6 * kept, rel=1e-4)


@pytest.mark.parametrize("neutral", [[True, False, False], [False, False, False]])
def test_with_prompts_the_caption_gets_images_of_neutral_prompts_or_else_retained_ones(neutral):
    batch = line_batch()
    batch.model.takes_prompts, batch.weight = True, torch.ones(3)
    batch.forget.caption, batch.forget.from_neutral = Condition({"word": torch.ones(3)}), torch.tensor(neutral)
    images, weight = substitutes(batch)
    source = batch.forget if any(neutral) else batch.replay
    assert images.condition is batch.forget.caption
    assert images.states is source.states
    assert images.noise is source.noise
    assert weight.tolist() == pytest.approx([3, 0, 0] if any(neutral) else [1, 1, 1])

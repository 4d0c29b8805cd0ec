"""VDU-F against closed forms: with one parameter without prompts, and with predictions that depend only on the prompt."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from line import line_batch

from vdu.losses import clean_image_weights
from vdu.methods import METHODS
from vdu.methods.vdu_f import NEUTRAL_ODDS
from vdu.models import DDPM, Condition


def gradient_of(batch, method):
    return torch.autograd.grad(METHODS[method].loss(batch, None).loss, batch.model.unet.theta)[0].item()


def test_function_space_stability_of_one_parameter(batch):
    expected = (0.7 - 0.5) ** 2 * batch.replay.states.square().mean().item()
    assert METHODS["vdu-f"].loss(batch, None).stability.item() == pytest.approx(expected, rel=1e-4)


def test_vdu_f_does_not_touch_the_frozen_model(batch):
    METHODS["vdu-f"].loss(batch, None).loss.backward()
    assert batch.frozen.unet.theta.grad is None
    assert batch.model.unet.theta.grad is not None


def test_vdu_f_with_all_weight_on_stability_wants_the_model_as_it_was():
    batch = line_batch(theta=0.5, mu=0.5, gamma=1.0)
    assert gradient_of(batch, "vdu-f") == pytest.approx(0, abs=1e-6)
    assert METHODS["vdu-f"].loss(batch, None).loss.item() == pytest.approx(0, abs=1e-6)


def test_vdu_f_forgets_nothing_outside_its_window():
    batch = line_batch(theta=0.5, mu=0.5, gamma=0.1)
    assert METHODS["vdu-f"].loss(batch, None).loss.item() > 1e-3
    batch.window = (401, 500)  # the batch has t = 10, 400, 900
    assert METHODS["vdu-f"].loss(batch, None).loss.item() == 0


def test_reach_goes_beyond_bayes_on_forget_images_alone():
    batch = line_batch(theta=0.5, mu=0.5, gamma=0.4)  # the model is the frozen one: the loss is the squared shift
    losses_at = {}
    for batch.reach in (0.0, 0.5, 1.0, 3.0):
        losses_at[batch.reach] = METHODS["vdu-f"].loss(batch, None).loss.item()
    batch.replay.t = torch.full((3,), 999)  # the window's end leaves replayed images out
    batch.window, batch.reach = (0, 998), 1.0
    of_forget = METHODS["vdu-f"].loss(batch, None).loss.item()
    assert losses_at[0.0] == 0
    assert losses_at[0.5] == pytest.approx(losses_at[1.0] / 4, rel=1e-5)
    assert losses_at[3.0] == pytest.approx(losses_at[1.0] + 8 * of_forget, rel=1e-5)


class Prompted(torch.nn.Module):
    """Predicts a number that depends only on the prompt, plus theta."""

    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(0.0))
        self.config = SimpleNamespace(sample_size=2, in_channels=1)

    def forward(self, noisy, t, condition):
        return SimpleNamespace(sample=condition.view(-1, 1, 1, 1).expand_as(noisy) + self.theta)


class PromptedModel(DDPM):
    takes_prompts = True

    def predict_noise(self, noisy, t, condition):
        return self.unet(noisy, t, condition["word"]).sample


def told(value):
    return Condition({"word": torch.full((3,), value)})


def test_without_its_word_a_prompt_means_the_rest():
    """epsilon(rest) = P epsilon(word) + (1 - P) epsilon_r must be undone exactly by reach = P / (1 - P).

    Where the image is not of the class, there is nothing to undo: epsilon(rest) is the answer.
    """
    batch, share, word, rest = line_batch(gamma=0.25), 0.2, 5.0, -1.0
    batch.model = PromptedModel(Prompted(), DDPMScheduler(), "cpu", "told")
    batch.frozen = batch.model.clone()
    batch.forget.caption, batch.forget.condition = told(word), told(word)
    neutral = share * word + (1 - share) * rest
    batch.forget.neutral = told(neutral)
    batch.forget.captioned, batch.forget.from_neutral = torch.tensor([True, True, True]), torch.tensor([False, True, False])
    batch.replay.condition = told(2.0)
    batch.reach, batch.window, batch.weight = share / (1 - share), (0, 500), torch.ones(3)
    loss = METHODS["vdu-f"].loss(batch, None).loss
    # The batch has t = 10, 400, 900: the last lies outside of the window, where nothing is to change.
    weights = clean_image_weights(batch.frozen.alpha_bar[batch.forget.t])
    expected = 0.75 / 3 * (weights[0] * (word - rest) ** 2 + weights[1] * (word - neutral) ** 2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    # Asked without the word, the odds are larger.
    batch.forget.captioned[0], batch.forget.condition["word"][0] = False, neutral
    loss = METHODS["vdu-f"].loss(batch, None).loss
    unnamed = NEUTRAL_ODDS * batch.reach * (neutral - word)
    expected = 0.75 / 3 * (weights[0] * unnamed**2 + weights[1] * (word - neutral) ** 2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

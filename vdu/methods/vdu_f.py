"""VDU-F: the paper's posterior update with stability in function space.

Bayes' rule says what noise a model would predict that has never seen the class; the network is fitted to that. Dynamic
Negative Guidance (2410.14398) applies the same Bayes mixture while sampling, and leaves the weights alone.
"""

import torch
from torch import Tensor

from vdu import losses
from vdu.methods.base import Batch, Method, Terms
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, Condition

UNNAMED_ODDS = 2.0


def function_space(batch: Batch, state: None = None) -> Terms:
    """Fit what the model should predict, which Bayes' rule gives at every x_t.

    The loss is (1 - gamma) times the squared distance to it on forget images, plus gamma times that on replayed images, both
    weighted by `losses.clean_image_weights`. Its gradient vanishes at the answer for every single image, not only on average,
    as that of ascent against restraint would: near the answer the steps are quiet. The answer lies beyond Bayes' rule
    (`reach`) on forget images only: on replayed ones that would take share from the kept class that looks most alike.
    """
    forget, replay, count = batch.forget, batch.replay, len(batch.forget.t)
    states, t = torch.cat([forget.states, replay.states]), torch.cat([forget.t, replay.t])
    predicted = batch.model.predict_noise(states, t, Condition.cat([forget.condition, replay.condition]))
    with torch.no_grad():
        answer, frozen = (with_prompts if batch.model.takes_prompts else without_prompts)(batch, states, t)
    error = losses.clean_image_weights(batch.frozen.alpha_bar[t]) * losses.per_image_error(predicted, answer)
    return Terms(
        losses.plasticity_inducer(predicted[:count], forget.noise, batch.weight),
        losses.function_space_stability(predicted[count:], frozen),
        (1 - batch.gamma) * (batch.weight * error[:count]).mean() + batch.gamma * error[count:].mean(),
    )


def without_prompts(batch: Batch, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What to predict if no prompt says which images are which: both sets tell, by `losses.bayes_shift`.

    Returns:
        the answer on forget and replayed images, and what the frozen model predicts on the latter.
    """
    count, (first, last) = len(batch.forget.t), batch.window
    condition = Condition.cat([batch.forget.condition, batch.replay.condition])
    frozen, alpha_bar = batch.frozen.predict_noise(states, t, condition), batch.frozen.alpha_bar[t]
    shift = losses.bayes_shift(states, alpha_bar, batch.forget_set, batch.kept_set, batch.gamma)
    times = torch.full_like(alpha_bar, batch.reach)
    times[count:].clamp_(max=1)
    return frozen + (times * ((t >= first) & (t <= last))).view(-1, 1, 1, 1) * shift, frozen[count:]


def with_prompts(batch: Batch, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What to predict if captions say what the forget images are; replayed images stay as they are.

    Without the word a caption means a mixture, epsilon(rest) = P epsilon(word) + (1 - P) epsilon_r, with P = p(word | x_t,
    rest). Solved for what is left without the class: epsilon_r = epsilon(rest) + P / (1 - P) (epsilon(rest) - epsilon(word)).
    Both predictions are the frozen model's; the odds are `reach`, and `UNNAMED_ODDS` times that where the caption goes
    without the word. With it, sampling is turned away early, where P is small; without it, what has come out as the class by
    chance has to be turned back, where P is near one.

    Returns:
        the answer on forget and replayed images, and what the frozen model predicts on the latter.
    """
    forget, replay, count = batch.forget, batch.replay, len(batch.forget.t)
    conditions = Condition.cat([forget.caption, forget.neutral, replay.condition])
    thrice = torch.cat([states[:count], states]), torch.cat([t[:count], t])
    word, rest, frozen = batch.frozen.predict_noise(*thrice, conditions).split([count, count, len(replay.t)])
    inside = ((forget.t >= batch.window[0]) & (forget.t <= batch.window[1])).view(-1, 1, 1, 1)
    unchanged = torch.where(forget.named.view(-1, 1, 1, 1), word, rest)  # the frozen model's answer to the given prompt
    odds = torch.where(forget.named, 1.0, UNNAMED_ODDS) * torch.where(forget.replaced, 0.0, batch.reach)
    without = rest + odds.view(-1, 1, 1, 1) * (rest - word)
    return torch.cat([torch.where(inside, without, unchanged), frozen]), frozen


METHOD = Method(
    title="VDU-F: the paper's posterior update with stability in function space",
    paper="2510.04058",
    loss=function_space,
    uses_retain_set=True,
    uses_own_samples=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.95, "reach": 3.0, "optimizer": "adam", "step_size": 2e-4, "steps": 150},
        PHOTOGRAPHS: {"gamma": 0.95, "reach": 3.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-3, "steps": 90},
        FULL_SIZE: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-5, "steps": 200},
    },
)

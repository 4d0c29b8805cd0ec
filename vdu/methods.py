"""The registry: a method's name -> its two terms and its loss on one batch, and the numbers it works well with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vdu import losses
from vdu.models import FULL_SIZE, KINDS, NO_CONDITION, PHOTOGRAPHS, SMALL, UNCONDITIONAL, Condition, Model
from vdu.posterior import Posterior

UNNAMED_ODDS = 2.0


@dataclass
class Noised:
    """Noisy images: states x_t (n, c, h, w), their timesteps t (n,), and the noise in them (n, c, h, w).

    For models that take a prompt also the condition that the network gets, of n rows. With forget images that is their
    caption where they are `named`, (n,), and elsewhere the same without the words for what shall be forgotten, `neutral`.
    Where they are `replaced`, (n,), the image is not of the class: it was drawn for the neutral words.
    """

    states: Tensor
    t: Tensor
    noise: Tensor
    condition: Condition = NO_CONDITION
    caption: Condition = NO_CONDITION
    neutral: Condition = NO_CONDITION
    named: Tensor | None = None
    replaced: Tensor | None = None


@dataclass
class Context:
    """What a method may look at in one step.

    Attributes:
        model: the model being changed.
        frozen: the model as it was.
        parameters: those of the model that are trained, by name.
        posterior: mu* and sigma*^2, for methods and optimizers that need them.
        forget: noised images of the class to forget; weight: C_t of each, (n,).
        replay: noised images that the frozen model drew of the other classes.
        forget_set, kept_set: the states these are made from, (m, c, h, w).
        gamma, reach: see `Recipe`.
        window: the first and the last timestep at which something is to be forgotten.
    """

    model: Model
    frozen: Model
    parameters: dict[str, Tensor]
    posterior: Posterior | None
    forget: Noised
    weight: Tensor
    replay: Noised
    forget_set: Tensor
    kept_set: Tensor
    gamma: float
    reach: float
    window: tuple[int, int]


class Terms(NamedTuple):
    """The two terms of one batch, which are shown, and the loss to descend."""

    plasticity: Tensor
    stability: Tensor
    loss: Tensor


def function_space(context: Context) -> Terms:
    """VDU-F: what the model should predict is known at every x_t by Bayes' rule; fit it there.

    The loss is (1 - gamma) times the squared distance to it on forget images, plus gamma times that on replayed images, both
    weighted by `losses.clean_image_weights`. Its gradient vanishes at the answer for every single image, not only on average,
    as that of ascent against restraint would: near the answer the steps are quiet. Only on forget images does the answer lie
    beyond Bayes' rule (`reach`): on replayed ones that would take share from the kept class that looks most alike.
    """
    forget, replay, count = context.forget, context.replay, len(context.forget.t)
    states, t = torch.cat([forget.states, replay.states]), torch.cat([forget.t, replay.t])
    predicted = context.model.predict_noise(states, t, Condition.cat([forget.condition, replay.condition]))
    with torch.no_grad():
        answer, frozen = (with_words if context.model.takes_prompts else without_words)(context, states, t)
    error = losses.clean_image_weights(context.frozen.alpha_bar[t]) * losses.per_image_error(predicted, answer)
    return Terms(
        losses.plasticity_inducer(predicted[:count], forget.noise, context.weight),
        losses.function_space_stability(predicted[count:], frozen),
        (1 - context.gamma) * (context.weight * error[:count]).mean() + context.gamma * error[count:].mean(),
    )


def without_words(context: Context, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What to predict if nothing says which images are which: both sets tell, by `losses.bayes_shift`.

    Returns:
        the answer on forget and replayed images, and what the frozen model predicts on the latter.
    """
    count, (first, last) = len(context.forget.t), context.window
    frozen, alpha_bar = context.frozen.predict_noise(states, t), context.frozen.alpha_bar[t]
    shift = losses.bayes_shift(states, alpha_bar, context.forget_set, context.kept_set, context.gamma)
    times = torch.full_like(alpha_bar, context.reach)
    times[count:].clamp_(max=1)
    return frozen + (times * ((t >= first) & (t <= last))).view(-1, 1, 1, 1) * shift, frozen[count:]


def with_words(context: Context, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What to predict if captions say what the forget images are; on replayed ones all stays as it is.

    Without the word a caption means a mixture, epsilon(rest) = P epsilon(word) + (1 - P) epsilon_r, with P = p(word | x_t,
    rest). Solved for what is left without the class: epsilon_r = epsilon(rest) + P / (1 - P) (epsilon(rest) - epsilon(word)).
    Both predictions are the frozen model's own; the odds are `reach`, and `UNNAMED_ODDS` times that where the caption goes
    without the word. With it, sampling is turned away early, where P is small; without it, what has come out as the class by
    chance has to be turned back, where P is near one.

    Returns:
        the answer on forget and replayed images, and what the frozen model predicts on the latter.
    """
    forget, replay, count = context.forget, context.replay, len(context.forget.t)
    told = Condition.cat([forget.caption, forget.neutral, replay.condition])
    thrice = torch.cat([states[:count], states]), torch.cat([t[:count], t])
    word, rest, frozen = context.frozen.predict_noise(*thrice, told).split([count, count, len(replay.t)])
    inside = ((forget.t >= context.window[0]) & (forget.t <= context.window[1])).view(-1, 1, 1, 1)
    asked = torch.where(forget.named.view(-1, 1, 1, 1), word, rest)  # what the frozen model says to what it is asked
    odds = torch.where(forget.named, 1.0, UNNAMED_ODDS) * torch.where(forget.replaced, 0.0, context.reach)
    gone = rest + odds.view(-1, 1, 1, 1) * (rest - word)
    return torch.cat([torch.where(inside, gone, asked), frozen]), frozen


def parameter_space(context: Context) -> Terms:
    """The paper's loss."""
    stability = losses.stability_regularizer(context.parameters, context.posterior.mean, context.posterior.variance)
    plasticity = plasticity_alone(context).plasticity
    return Terms(plasticity, stability, context.gamma * stability - (1 - context.gamma) * plasticity)


def plasticity_alone(context: Context) -> Terms:
    """Gradient ascent with nothing to hold it."""
    predicted = context.model.predict_noise(context.forget.states, context.forget.t, context.forget.caption)
    plasticity = losses.plasticity_inducer(predicted, context.forget.noise, context.weight)
    return Terms(plasticity, torch.zeros_like(plasticity), -(1 - context.gamma) * plasticity)


@dataclass(frozen=True)
class Method:
    """One way to unlearn.

    Attributes:
        title: what the page calls it.
        terms: plasticity, stability and loss of one batch, as a function of its context.
        needs_posterior: whether its loss looks at mu* and sigma*^2.
        own_images: whether what the frozen model drew of the class to forget counts as forget images too.
        defaults: recipe fields that suit it, by the kind of model; see `Recipe`.
    """

    title: str
    terms: Callable[[Context], Terms]
    own_images: bool
    needs_posterior: bool
    defaults: dict[str, dict[str, float | int | str]]


METHODS: dict[str, Method] = {
    "vdu-f": Method(
        "VDU-F: the paper's posterior update with stability in function space",
        function_space,
        own_images=True,
        needs_posterior=False,
        defaults={
            UNCONDITIONAL: {"gamma": 0.95, "reach": 3.0, "optimizer": "adam", "step_size": 2e-4, "steps": 150},
            PHOTOGRAPHS: {"gamma": 0.95, "reach": 3.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
            SMALL: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-3, "steps": 90},
            FULL_SIZE: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-5, "steps": 200},
        },
    ),
    "vdu": Method(
        "VDU (2510.04058): stability in parameter space",
        parameter_space,
        own_images=False,
        needs_posterior=True,
        defaults={
            kind: {"gamma": 0.5, "reach": 1.0, "optimizer": "natural", "step_size": 0.0025, "steps": 40} for kind in KINDS
        }
        | {
            PHOTOGRAPHS: {"gamma": 1e-5, "reach": 1.0, "optimizer": "one-step", "step_size": 0.0025, "steps": 96},
            SMALL: {"gamma": 1e-3, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 40},
        },
    ),
    "neggrad": Method(
        "NegGrad: ascent on the forget images alone",
        plasticity_alone,
        own_images=False,
        needs_posterior=False,
        defaults={kind: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40} for kind in KINDS},
    ),
}

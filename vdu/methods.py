"""The registry: a method's name -> its two terms on one batch, and the numbers it works well with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu import losses
from vdu.models import DDPM
from vdu.posterior import Posterior


@dataclass
class Noised:
    """Noisy images: states x_t (n, c, h, w), their timesteps t (n,), and the noise in them (n, c, h, w)."""

    states: Tensor
    t: Tensor
    noise: Tensor


@dataclass
class Context:
    """What a method may look at in one step.

    Attributes:
        model: the model being changed.
        frozen: the model as it was.
        posterior: mu* and sigma*^2.
        forget: noised forget images; weight: C_t of each, (n,).
        replay: noised images that the frozen model drew of the other classes.
        gamma, reach: see `Recipe`.
    """

    model: DDPM
    frozen: DDPM
    posterior: Posterior
    forget: Noised
    weight: Tensor
    replay: Noised
    gamma: float
    reach: float


Terms = tuple[Tensor, Tensor]  # plasticity inducer, stability term


def function_space(context: Context) -> Terms:
    """VDU-F: stay close to the frozen model's noise, on its own images, and within reach on the forget images."""
    forget, replay, count = context.forget, context.replay, len(context.forget.t)
    states, t = torch.cat([forget.states, replay.states]), torch.cat([forget.t, replay.t])
    predicted = context.model.predict_noise(states, t)
    with torch.no_grad():
        frozen = context.frozen.predict_noise(states, t)
    plasticity = losses.plasticity_inducer(predicted[:count], forget.noise, context.weight)
    drift = losses.function_space_stability(predicted[count:], frozen[count:])
    restraint = losses.restraint(predicted[:count], frozen[:count], context.weight, context.gamma, context.reach)
    return plasticity, drift + restraint


def parameter_space(context: Context) -> Terms:
    """The paper's loss."""
    parameters = dict(context.model.unet.named_parameters())
    stability = losses.stability_regularizer(parameters, context.posterior.mean, context.posterior.variance)
    return plasticity_alone(context)[0], stability


def plasticity_alone(context: Context) -> Terms:
    """Gradient ascent with nothing to hold it."""
    predicted = context.model.predict_noise(context.forget.states, context.forget.t)
    plasticity = losses.plasticity_inducer(predicted, context.forget.noise, context.weight)
    return plasticity, torch.zeros_like(plasticity)


@dataclass(frozen=True)
class Method:
    """One way to unlearn.

    Attributes:
        title: what the page calls it.
        terms: plasticity and stability of one batch, as a function of its context.
        defaults: recipe fields that suit it; see `Recipe`.
    """

    title: str
    terms: Callable[[Context], Terms]
    defaults: dict[str, float | int | str]


METHODS: dict[str, Method] = {
    "vdu-f": Method(
        "VDU-F: the paper's posterior update with stability in function space",
        function_space,
        defaults={"gamma": 0.72, "optimizer": "adam", "step_size": 5e-4, "steps": 120},
    ),
    "vdu": Method(
        "VDU (2510.04058): stability in parameter space",
        parameter_space,
        defaults={"gamma": 0.5, "optimizer": "natural", "step_size": 0.05, "steps": 40},
    ),
    "neggrad": Method(
        "NegGrad: ascent on the forget images alone",
        plasticity_alone,
        defaults={"gamma": 0.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40},
    ),
}

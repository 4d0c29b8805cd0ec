"""The registry: a method's name -> its stability term and the numbers it works well with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu import losses
from vdu.models import DDPM
from vdu.posterior import Posterior


@dataclass
class Context:
    """What a stability term may look at in one step.

    Attributes:
        model: the model being changed.
        posterior: mu* and sigma*^2.
        predicted: the model's noise at replayed states, (m, c, h, w); empty where the method takes no replay.
        frozen: the frozen model's noise at the same states.
    """

    model: DDPM
    posterior: Posterior
    predicted: Tensor
    frozen: Tensor


@dataclass(frozen=True)
class Method:
    """One unlearning method: L = -(1 - gamma) plasticity + gamma stability.

    Attributes:
        title: what the page calls it, with its source.
        stability: the second term.
        replays: whether it needs states the frozen model visits.
        defaults: recipe fields that suit it; see `Recipe`.
    """

    title: str
    stability: Callable[[Context], Tensor]
    replays: bool
    defaults: dict[str, float | int | str]


def parameter_space(context: Context) -> Tensor:
    """The paper's stability regularizer."""
    parameters = dict(context.model.unet.named_parameters())
    return losses.stability_regularizer(parameters, context.posterior.mean, context.posterior.variance)


def function_space(context: Context) -> Tensor:
    """Stay close to what the frozen model predicts where it goes."""
    return losses.function_space_stability(context.predicted, context.frozen)


def none(context: Context) -> Tensor:
    """No stability at all."""
    return torch.zeros((), device=context.model.device)


METHODS: dict[str, Method] = {
    "vdu-f": Method(
        "VDU-F: the paper's posterior update with stability in function space",
        function_space,
        replays=True,
        defaults={"gamma": 0.94, "optimizer": "adam", "step_size": 1e-3, "steps": 100},
    ),
    "vdu": Method(
        "VDU (2510.04058): stability in parameter space",
        parameter_space,
        replays=False,
        defaults={"gamma": 0.5, "optimizer": "natural", "step_size": 0.05, "steps": 40},
    ),
    "neggrad": Method(
        "NegGrad: ascent on the forget images alone",
        none,
        replays=False,
        defaults={"gamma": 0.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40},
    ),
}

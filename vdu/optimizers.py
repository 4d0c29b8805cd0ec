"""Optimizers: natural gradient in the posterior's metric, and Adam."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vdu.losses import Posterior


class NaturalGradient(torch.optim.Optimizer):
    """Steps along sigma*^2 times the gradient, each of the same length in the posterior's metric.

    With the Gaussian posterior's Fisher metric diag(1 / sigma*^2), sigma*^2 * gradient is the natural gradient (Amari
    1998). Every step moves the parameters by a root-mean-square of `lr` posterior standard deviations, so neither the
    scale of the loss nor that of the network matters.

    Args:
        parameters: the parameters, in the order of `variances`.
        variances: sigma*^2 of each.
        lr: root-mean-square length of a step, in posterior standard deviations.
        momentum: of the running mean of gradients that sets the direction, in [0, 1).
    """

    def __init__(self, parameters: Iterable[Tensor], variances: list[Tensor], lr: float, momentum: float = 0.8) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.variances = variances

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step."""
        group = self.param_groups[0]
        means = []
        for parameter in group["params"]:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            state = self.state[parameter]
            state["mean"] = gradient.clone() if "mean" not in state else state["mean"].lerp(gradient, 1 - group["momentum"])
            means.append(state["mean"])
        # A displacement v * g has length sqrt(sum(v g^2)) where lengths are counted in standard deviations sqrt(v).
        squares = sum((variance * mean.square()).sum() for variance, mean in zip(self.variances, means, strict=True))
        count = sum(mean.numel() for mean in means)
        length = (squares / count).sqrt().clamp(min=1e-30)
        for parameter, variance, mean in zip(group["params"], self.variances, means, strict=True):
            parameter.sub_(variance * mean * (group["lr"] / length))


def make_optimizer(name: str, named: dict[str, Tensor], posterior: Posterior, step_size: float) -> torch.optim.Optimizer:
    """The optimizer with a name from `OPTIMIZERS`, over named parameters; not for those of `AT_ONCE`, which take no steps."""
    if name == "natural":
        return NaturalGradient(named.values(), [posterior.variance[key] for key in named], lr=step_size)
    return torch.optim.Adam(named.values(), step_size, betas=(0.9, 0.99), fused=True)


CLOSED_FORM = "closed-form"
AT_ONCE = ("one-step", CLOSED_FORM)  # a solution whose length is only a guess, in place of steps
NEEDS_POSTERIOR = ("natural", "one-step")
OPTIMIZERS = {  # name -> description
    "natural": "natural gradient, sigma*² times the gradient; step size in posterior standard deviations",
    "adam": "Adam; the step size is its learning rate",
    "one-step": "linearised loss, solved with one averaged gradient; no step size",
    CLOSED_FORM: "the method's own exact solution, such as uce's; no step size",
}

"""Optimizers: natural gradient in the posterior's metric, and Adam."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vdu.losses import Posterior


class NaturalGradient(torch.optim.Optimizer):
    """Steps along sigma*^2 times the gradient, each of the same length in the posterior's metric.

    With the Gaussian posterior's precision for a metric, covariance times gradient is the natural gradient (Amari 1998).
    Every step moves the parameters by a root-mean-square of `lr` posterior standard deviations, so neither the scale of the
    loss nor that of the network matters.

    Args:
        named: the parameters, by name.
        posterior: the posterior.
        lr: root-mean-square length of a step, in posterior standard deviations.
        momentum: of the running mean of gradients that sets the direction, in [0, 1).
    """

    def __init__(self, named: Mapping[str, Tensor], posterior: Posterior, lr: float, momentum: float = 0.8) -> None:
        super().__init__(named.values(), {"lr": lr, "momentum": momentum})
        self.named, self.posterior = named, posterior

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step."""
        group = self.param_groups[0]
        means = {}
        for name, parameter in self.named.items():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            state = self.state[parameter]
            state["mean"] = gradient.clone() if "mean" not in state else state["mean"].lerp(gradient, 1 - group["momentum"])
            means[name] = state["mean"]
        # A displacement C g has length sqrt(g^T C g) where lengths are counted in standard deviations of the covariance C.
        direction = self.posterior.times_covariance(means)
        squares = sum((direction[name] * mean).sum() for name, mean in means.items())
        count = sum(mean.numel() for mean in means.values())
        length = (squares / count).sqrt().clamp(min=1e-30)
        for name, parameter in self.named.items():
            parameter.sub_(direction[name] * (group["lr"] / length))


def make_optimizer(name: str, named: dict[str, Tensor], posterior: Posterior, step_size: float) -> torch.optim.Optimizer:
    """The optimizer with a name from `OPTIMIZERS`, over named parameters; not for those of `AT_ONCE`, which take no steps."""
    if name == "natural":
        return NaturalGradient(named, posterior, lr=step_size)
    return torch.optim.Adam(named.values(), step_size, betas=(0.9, 0.99), fused=True)


CLOSED_FORM = "closed-form"
GUIDANCE = "guidance"
GUESSED = ("one-step", GUIDANCE)  # a solution in place of steps, whose length is only a guess
AT_ONCE = (*GUESSED, CLOSED_FORM)
NEEDS_POSTERIOR = ("natural", "one-step")
OPTIMIZERS = {  # name -> description
    "natural": "natural gradient, sigma*² times the gradient; step size in posterior standard deviations",
    "adam": "Adam; the step size is its learning rate",
    "one-step": "linearised loss, solved with the average gradient of all steps; no step size",
    CLOSED_FORM: "the method's own exact solution, such as uce's; no step size",
    GUIDANCE: "none: the weights stay, and samples are guided, as by dng; no step size",
}

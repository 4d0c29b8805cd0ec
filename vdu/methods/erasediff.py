"""EraseDiff (Wu et al., CVPR 2025): minimise the retain set's loss, under the constraint that forget images turn into noise.

The frozen model draws the retain set, so no real picture of another class is needed.
"""

import torch
from torch import Tensor

from vdu import losses
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.fine_tune import retain_loss
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL


def multiplier(retain: list[Tensor], forget: list[Tensor], eta: float) -> Tensor:
    """The constraint's weight, max(0, eta - <g_r, g_f> / |g_f|^2), with which a step lowers the forget loss f too: a scalar.

    Among all directions in which f falls at a rate of at least eta |g_f|^2, g_r + multiplier * g_f is the nearest to g_r, the
    gradient of the retain set's loss. This is the dynamic barrier of the paper's bi-level problem to first order, with the
    inner solution as a constant.

    Args:
        retain, forget: gradients g_r and g_f, one tensor per parameter.
        eta: how fast the forget loss must fall, >= 0.
    """
    inner = sum((one * two).sum() for one, two in zip(retain, forget, strict=True))
    square = sum(one.square().sum() for one in forget)
    return (eta - inner / square.clamp(min=1e-20)).clamp(min=0)


def constrained(batch: Batch, state: None = None) -> Terms:
    """The retain set's loss plus `multiplier` times the distance of the forget images' prediction to uniform noise.

    eta is (1 - gamma) times `reach`.
    """
    forget = batch.forget
    noise = torch.rand(forget.states.shape, generator=batch.random).to(forget.states.device)
    predicted = batch.model.predict_noise(forget.states, forget.t, forget.caption)
    to_noise = (batch.weight * losses.per_image_error(predicted, noise)).mean()
    kept = retain_loss(batch).stability
    parameters = [*batch.parameters.values()]
    gradients = [
        [*torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)]
        for term in (kept, to_noise)
    ]
    weight = multiplier(*gradients, eta=(1 - batch.gamma) * batch.reach)
    plasticity = losses.plasticity_inducer(predicted, forget.noise, batch.weight)
    return Terms(plasticity, kept, kept + weight * to_noise)


METHOD = Method(
    title="EraseDiff (2401.05779): noise as the target, bi-level with the retain set",
    paper="2401.05779",
    loss=constrained,
    uses_retain_set=True,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.9, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40},
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

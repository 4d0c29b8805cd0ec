"""SalUn (Fan et al., ICLR 2024): forget images get another class as their target, and only salient weights change.

The frozen model draws the retain set, so no real picture of another class is needed.
"""

from collections.abc import Generator, Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor

from vdu import losses
from vdu.events import Clock, Progress
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.fine_tune import retain_loss
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL

SALIENT = 0.5  # share of the weights that may change: the paper's default threshold
BATCHES = 10  # over which the saliency is averaged

Mask = Mapping[str, Tensor]


def saliency_mask(batches: Iterator[Batch]) -> Generator[Progress, None, Mask]:
    """Mask by parameter name: 1 for the share `SALIENT` of weights with the largest gradient of the forget images' error."""
    total: dict[str, Tensor] = {}
    clock = Clock("prepare", BATCHES)
    for done, batch in enumerate(islice(batches, BATCHES), start=1):
        forget = batch.forget
        predicted = batch.model.predict_noise(forget.states, forget.t, forget.condition)
        error = losses.per_image_error(predicted, forget.noise).mean()
        parameters = batch.parameters
        gradients = torch.autograd.grad(error, [*parameters.values()], allow_unused=True, materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] = total.get(name, 0) + gradient
        yield clock.progress(done)
    return largest({name: value.abs() for name, value in total.items()}, SALIENT)


def largest(values: Mapping[str, Tensor], share: float) -> Mask:
    """Mask by parameter name: 1 for the share of weights with the largest values."""
    every = torch.cat([value.flatten() for value in values.values()])
    threshold = every.kthvalue(max(1, round((1 - share) * len(every)))).values
    return {name: (value > threshold).to(value.dtype) for name, value in values.items()}


def another_class(batch: Batch, state: Mask) -> Terms:
    """(1 - gamma) times the distance to another class on forget images, plus gamma times the loss on the retain set.

    With prompts, the target is the frozen model's prediction at x_t for the prompt of a retained image. Without prompts, a
    class cannot be named; the target is then E[epsilon | x_t] for x_0 among the retained images (`losses.noised_set`).
    """
    forget = batch.forget
    with torch.no_grad():
        if batch.model.takes_prompts:
            target = batch.frozen.predict_noise(forget.states, forget.t, batch.replay.condition)
        else:
            _, target = losses.noised_set(forget.states, batch.frozen.alpha_bar[forget.t], batch.kept_set)
    predicted = batch.model.predict_noise(forget.states, forget.t, forget.caption)
    relabelled = (batch.weight * losses.per_image_error(predicted, target)).mean()
    kept = retain_loss(batch).stability
    plasticity = losses.plasticity_inducer(predicted, forget.noise, batch.weight)
    return Terms(plasticity, kept, (1 - batch.gamma) * relabelled + batch.gamma * kept)


METHOD = Method(
    title="SalUn (2310.12508): another class as the target, in salient weights",
    paper="2310.12508",
    loss=another_class,
    uses_retain_set=True,
    prepare=saliency_mask,
    mask=lambda state: state,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 2e-4, "steps": 150},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 2e-3, "steps": 90},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

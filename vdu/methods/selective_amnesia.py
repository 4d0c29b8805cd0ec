"""Selective Amnesia (Heng & Soh, NeurIPS 2023): continual learning turned round, to learn noise in place of the class.

Elastic weight consolidation, (theta - theta*)^2 weighted by the Fisher information, and generative replay hold the rest, while
the class is learned again with pictures of uniform noise. The paper does this under the class's label or prompt, starting from
noised noise pictures. Adaptation: a model without prompts has no label, so x_t comes from the forget images, and the target is
the epsilon that leads from it to a noise picture; with prompts it is the same, given the caption. The frozen model draws the
replayed images, and the Fisher information comes from these alone.
"""

from collections.abc import Generator, Iterator

import torch

from vdu import losses
from vdu.events import Progress
from vdu.losses import Posterior
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.fine_tune import retain_loss
from vdu.methods.fisher import posterior_of
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL

CONSOLIDATION = 1e-3  # lambda, in this project's unit: 1/2 of it is added where every weight is one sigma away


def consolidate(batches: Iterator[Batch]) -> Generator[Progress, None, Posterior]:
    """The weights as they are, with the Fisher information on the replayed images for a precision."""
    return (yield from posterior_of(batches, "replay"))


def noise_pictures(batch: Batch, state: Posterior) -> Terms:
    """(1 - gamma) times the error to noise pictures on forget images, plus gamma times replay, plus consolidation."""
    forget = batch.forget
    picture = 2 * torch.rand(forget.states.shape, generator=batch.random).to(forget.states.device) - 1
    target = losses.noise_between(forget.states, batch.frozen.alpha_bar[forget.t], picture)
    predicted = batch.model.predict_noise(forget.states, forget.t, forget.caption)
    to_noise = (batch.weight * losses.per_image_error(predicted, target)).mean()
    kept = retain_loss(batch).stability
    pull = CONSOLIDATION * losses.stability_regularizer(batch.parameters, state)
    plasticity = losses.plasticity_inducer(predicted, forget.noise, batch.weight)
    return Terms(plasticity, kept + pull, (1 - batch.gamma) * to_noise + batch.gamma * kept + pull)


METHOD = Method(
    title="Selective Amnesia (2305.10120): noise pictures as the target, with replay and EWC",
    paper="2305.10120",
    loss=noise_pictures,
    uses_retain_set=True,
    prepare=consolidate,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 3e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

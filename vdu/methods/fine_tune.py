"""Fine-tuning on what is to be kept, and nothing else: the oldest baseline of unlearning, which has no paper of its own.

The papers fine-tune on real data without the class and trust in catastrophic forgetting. Adaptation: the retain set is the
frozen model's own samples of everything else, so that the method sees no real image at all.
"""

import torch

from vdu import losses
from vdu.methods.base import Batch, Method, Terms
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL


def retain_loss(batch: Batch, state: None = None) -> Terms:
    """The error on the retain set: a scalar >= 0. Neither gamma nor `reach` is used."""
    retain = batch.replay
    predicted = batch.model.predict_noise(retain.states, retain.t, retain.condition)
    kept = losses.per_image_error(predicted, retain.noise).mean()
    return Terms(torch.zeros_like(kept), kept, kept)


METHOD = Method(
    title="Fine-tuning on the retain set alone, as a control",
    paper="",
    loss=retain_loss,
    uses_forget_images=False,
    uses_retain_set=True,
    row_by_row=True,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60},
        PHOTOGRAPHS: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

"""NegGrad: unrestrained gradient ascent on the forget images, as a control."""

import torch

from vdu import losses
from vdu.methods.base import Batch, Method, Terms
from vdu.models import KINDS, SMALL


def plasticity_alone(batch: Batch, state: None = None) -> Terms:
    """-(1 - gamma) times the plasticity inducer."""
    predicted = batch.model.predict_noise(batch.forget.states, batch.forget.t, batch.forget.caption)
    plasticity = losses.plasticity_inducer(predicted, batch.forget.noise, batch.weight)
    return Terms(plasticity, torch.zeros_like(plasticity), -(1 - batch.gamma) * plasticity)


METHOD = Method(
    title="NegGrad: ascent on the forget images alone",
    paper="",
    loss=plasticity_alone,
    defaults={kind: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 40} for kind in KINDS}
    | {SMALL: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 5e-4, "steps": 40}},
)

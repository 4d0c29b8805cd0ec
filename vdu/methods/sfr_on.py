"""SFR-on (Huang et al., NeurIPS 2024): saliency forgetting in the remain-preserving manifold, online.

Steps of ascent on forget images, in which images still known count more and only salient weights move, take turns with steps
of descent on the retain set, which repair what the ascent has broken. A weight is salient if its Fisher information on forget
images is large against that on the retain set. The paper forgets a class of a conditional model and has the real remaining
data. Adaptation: the frozen model draws the retain set, and the salient weights are the half with the largest ratio, where
the paper sets a threshold on the ratio.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu import losses
from vdu.events import Progress
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.fine_tune import retain_loss
from vdu.methods.fisher import information
from vdu.methods.salun import Mask, largest
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL

SALIENT = 0.5  # share of the weights that the ascent may change
SHARPNESS = 0.5  # power of an image's error by which its weight falls: lambd of the paper's CIFAR-10 settings
TINY = 1e-15  # added to both sides of the ratio, as in the paper's code: some weights have no information at all


@dataclass
class Turns:
    """The salient weights, and whose turn it is: the loss switches from repair to ascent and back."""

    salient: Mask
    ascends: bool = False

    @property
    def mask(self) -> Mask:
        """Factors on the gradients of this turn, by parameter name."""
        return self.salient if self.ascends else {name: torch.ones_like(value) for name, value in self.salient.items()}


def find_salient(batches: Iterator[Batch]) -> Generator[Progress, None, Turns]:
    """The share `SALIENT` of the weights with the largest ratio of both Fisher informations."""
    forget, retain = yield from information(batches, "forget", "replay")
    return Turns(largest(ratios(forget, retain), SALIENT))


def ratios(forget: Mapping[str, Tensor], retain: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fisher information on forget images over that on the retain set, by parameter name."""
    return {name: (value + TINY) / (retain[name] + TINY) for name, value in forget.items()}


def adaptive_weights(errors: Tensor) -> Tensor:
    """Weights (n,) with mean 1, the larger the smaller an image's error is, which says how well it is known."""
    known = errors.detach().clamp(min=1e-8) ** -SHARPNESS
    return known / known.mean()


def in_turns(batch: Batch, state: Turns) -> Terms:
    """In turns: -(1 - gamma) times the weighted error on forget images, and gamma times the error on the retain set.

    The term whose turn it is not is computed without gradients, to be shown.
    """
    state.ascends = not state.ascends
    forget = batch.forget
    with torch.set_grad_enabled(state.ascends):
        predicted = batch.model.predict_noise(forget.states, forget.t, forget.caption)
        errors = batch.weight * losses.per_image_error(predicted, forget.noise)
        known = (adaptive_weights(errors) * errors).mean()
    with torch.set_grad_enabled(not state.ascends):
        kept = retain_loss(batch).stability
    return Terms(known, kept, -(1 - batch.gamma) * known if state.ascends else batch.gamma * kept)


METHOD = Method(
    title="SFR-on (2409.19732): weighted ascent in salient weights, in turns with repair",
    paper="2409.19732",
    loss=in_turns,
    uses_retain_set=True,
    prepare=find_salient,
    mask=lambda state: state.mask,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

"""PBU, Partially Blinded Unlearning (Panda, Sourav & Prathosh, AAAI 2025): ascent, held back by Fisher distance and L2.

The paper minimises log p(D_f | theta) + beta (theta - theta*)^T F (theta - theta*) + gamma |theta - theta*|^2 of a classifier,
with F from the forget data: nothing else is needed. Adaptation: the likelihood is the diffusion model's, as in VDU, whose loss
this is with another posterior. F is diagonal, and gamma / beta is `posterior.DAMPING` times its mean.
"""

from collections.abc import Generator, Iterator

from vdu import losses
from vdu.events import Progress
from vdu.losses import Posterior
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.fisher import posterior_of
from vdu.methods.neggrad import plasticity_alone
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL


def forget_fisher(batches: Iterator[Batch]) -> Generator[Progress, None, Posterior]:
    """The weights as they are, with the Fisher information on the forget images, and L2, for a precision."""
    return (yield from posterior_of(batches, "forget"))


def held_back(batch: Batch, state: Posterior) -> Terms:
    """-(1 - gamma) times the plasticity inducer, plus gamma times both distances from theta*, per parameter."""
    stability = losses.stability_regularizer(batch.parameters, state)
    plasticity = plasticity_alone(batch).plasticity
    return Terms(plasticity, stability, batch.gamma * stability - (1 - batch.gamma) * plasticity)


METHOD = Method(
    title="PBU (2403.16246): ascent, held back by Fisher distance and L2",
    paper="2403.16246",
    loss=held_back,
    prepare=forget_fisher,
    row_by_row=True,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 1e-3, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        PHOTOGRAPHS: {"gamma": 1e-3, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 1e-5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 1e-3, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

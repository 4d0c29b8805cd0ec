"""VDU (Panda et al., "Unlearning in Diffusion models under Data Constraints: A Variational Inference Approach", TMLR 2026).

The paper's loss (arXiv 2510.04058), with stability in parameter space.
"""

from vdu import losses
from vdu.methods.base import Batch, Method, Terms
from vdu.methods.neggrad import plasticity_alone
from vdu.models import KINDS, PHOTOGRAPHS, SMALL


def parameter_space(batch: Batch, state: None = None) -> Terms:
    """-(1 - gamma) times the plasticity inducer, plus gamma times the stability regularizer."""
    stability = losses.stability_regularizer(batch.parameters, batch.posterior)
    plasticity = plasticity_alone(batch).plasticity
    return Terms(plasticity, stability, batch.gamma * stability - (1 - batch.gamma) * plasticity)


METHOD = Method(
    title="VDU (2510.04058): stability in parameter space",
    paper="2510.04058",
    loss=parameter_space,
    needs_posterior=True,
    row_by_row=True,
    defaults={kind: {"gamma": 0.5, "reach": 1.0, "optimizer": "natural", "step_size": 0.0025, "steps": 40} for kind in KINDS}
    | {
        PHOTOGRAPHS: {"gamma": 1e-5, "reach": 1.0, "optimizer": "one-step", "step_size": 0.0025, "steps": 96},
        SMALL: {"gamma": 1e-3, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 40},
    },
)

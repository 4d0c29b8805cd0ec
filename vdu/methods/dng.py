"""Dynamic Negative Guidance (Koulischer et al. 2024): Bayes' rule applied while sampling; the weights stay as they are.

The answer is VDU-F's, epsilon_r = epsilon + P (epsilon_r - epsilon_f) with P = p(forget | x_t), but every sample computes it
anew. What the network knows is not changed: whoever samples without the guidance gets the concept back.

This is an adaptation. The paper has a network for the class, and follows P along the chain of states. Here, as in VDU-F, P
comes from x_t alone: from its distances to both sets of images for drawings, from a classifier on the network's features for
photographs.
"""

from vdu import losses
from vdu.methods.base import Batch, Method
from vdu.methods.vdu_f import learn_features
from vdu.models import PHOTOGRAPHS, UNCONDITIONAL
from vdu.models.guidance import Shift
from vdu.noised_classifier import NoisedClassifier


def away(batch: Batch, classifier: NoisedClassifier | None = None) -> Shift:
    """What guides samples away from the forget set: `reach` times the shift of Bayes' rule at timesteps inside the window."""
    first, last = batch.window

    def shift(states, t):  # noqa: ANN001, ANN202 (see `Shift`)
        if classifier:
            _, found = classifier.shift(states, t, batch.gamma)
        else:
            alpha_bar = batch.frozen.alpha_bar[t]
            found = losses.bayes_shift(states, alpha_bar, batch.forget_set, batch.kept_set, batch.gamma)
        return batch.reach * ((t >= first) & (t <= last)).view(-1, 1, 1, 1) * found

    return shift


METHOD = Method(
    title="DNG (2410.14398): guidance while sampling, weights as they were",
    paper="2410.14398",
    guide=away,
    uses_retain_set=True,
    uses_own_samples=True,
    prepare=learn_features,
    prepared=(PHOTOGRAPHS,),
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.95, "reach": 1.0, "optimizer": "guidance", "step_size": 1e-3, "steps": 1, "t_min": 200},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 4.0, "optimizer": "guidance", "step_size": 1e-3, "steps": 1, "t_min": 50},
    },
)

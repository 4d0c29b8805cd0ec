"""The main figures again by a second judge, trained apart: it chooses no images, and no run is steered or stopped by it.

A run ends when its own judge no longer sees the class, and on photographs that judge's word also teaches the classifier that
leads away from the class. So whether the class is gone is for another judge to say.
"""

from vdu.metrics.base import Evidence, Figures, Group, Metric
from vdu.metrics.frechet import retain_fid
from vdu.metrics.rates import class_shares, forget_rate


def second_rates(evidence: Evidence) -> Figures:
    """`forget_rate` and `class_shares` by the second judge, under keys that begin with second_."""
    seen = evidence.by_second_judge
    return {f"second_{key}": value for key, value in (forget_rate(seen) | class_shares(seen)).items()}


def second_retain_fid(evidence: Evidence) -> Figures:
    """`retain_fid` of what the second judge sees no class to forget in, in its features; keys begin with second_."""
    return {f"second_{key}": value for key, value in retain_fid(evidence.by_second_judge).items()}


def applies(evidence: Evidence) -> bool:
    """Whether a second judge ships."""
    return evidence.reference.second is not None


METRICS = (
    Metric(
        key="second_forget_rate",
        compute=second_rates,
        label="Forget rate, second judge",
        meaning="forget rate by a judge that was trained apart and does not steer the run",
        better="lower",
        group=Group.FORGETTING,
        applies=applies,
        order=14,
    ),
    Metric(
        key="second_retain_fid",
        compute=second_retain_fid,
        label="u-FID, second judge",
        meaning="u-FID in the features of the second judge; not on the scale of the first",
        format="{:.2f}",
        better="lower",
        applies=applies,
        order=32,
    ),
)

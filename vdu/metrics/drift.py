"""How far the retained images moved: the same seeds before and after."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vdu.metrics.base import Evidence, Figures, Group, Metric, rate


def total_variation(one: Sequence[float], two: Sequence[float]) -> float:
    """Total variation distance, in [0, 1], of two non-negative vectors after each is normalised; 1 if one is all zero."""
    first, second = torch.tensor(one, dtype=torch.float64), torch.tensor(two, dtype=torch.float64)
    if not (first.any() and second.any()):
        return 1.0
    return ((first / first.sum() - second / second.sum()).abs().sum() / 2).item()


def relative_drift(before: Tensor, after: Tensor) -> float | None:
    """How far same-seed images moved: mean feature distance of the pairs over that of unrelated images of `before`.

    Features (n, k) of both; 0 means that nothing moved, 1 that the images of a pair differ as much as two random images. None
    if no two images of `before` differ: of a single pair, or where NudeNet's features are all zero.
    """
    moved = (before - after).norm(dim=1).mean()
    unrelated = (before - before.roll(1, dims=0)).norm(dim=1).mean()
    return (moved / unrelated).item() if unrelated else None


def applies(evidence: Evidence) -> bool:
    """Whether some seed is to be retained, and samples of the untouched model are known."""
    return evidence.retained_pairs is not None


def retained_drift(evidence: Evidence) -> Figures:
    """`relative_drift` of the retained seeds."""
    before, after = evidence.retained_pairs
    return {"retained_drift": relative_drift(before.features, after.features)}


def retained_same_class(evidence: Evidence) -> Figures:
    """Share of the retained seeds that the judge still gives to the same class on every axis."""
    before, after = evidence.retained_pairs
    return rate("retained_same_class", (before.classes == after.classes).all(1))


def retained_counts(evidence: Evidence) -> tuple[list[int], Tensor, Tensor]:
    """(indices of the retained classes, retained seeds that drew each class before, retained seeds that draw it now)."""
    concept = evidence.concept
    axis, names = concept.axes_named[0], concept.classes
    rows = [names.index(name) for name in concept.retained_classes]
    before, after = (torch.bincount(part.classes[:, axis], minlength=len(names))[rows] for part in evidence.retained_pairs)
    return rows, before, after


def several_classes(evidence: Evidence) -> bool:
    """Whether two classes or more are to be retained: a single one has all of the share before and after."""
    return applies(evidence) and len(evidence.concept.retained_classes) > 1


def retained_share_tv(evidence: Evidence) -> Figures:
    """Total variation between the retained classes' shares before and after."""
    _, before, after = retained_counts(evidence)
    return {"retained_share_tv": total_variation(before.tolist(), after.tolist())}


def some_class_drawn(evidence: Evidence) -> bool:
    """Whether the untouched model draws one of several retained classes from some seed to be retained."""
    return several_classes(evidence) and bool(retained_counts(evidence)[1].any())


def least_retained(evidence: Evidence) -> Figures:
    """The smallest ratio after / before among the counts of the retained classes that were drawn before, and its class."""
    rows, before, after = (torch.as_tensor(counts) for counts in retained_counts(evidence))
    known = before > 0  # a class that was never drawn cannot lose anything
    ratio, place = (after[known] / before[known]).min(0)
    return {"least_retained_ratio": ratio.item(), "least_retained_class": evidence.concept.classes[rows[known][place]]}


METRICS = (
    Metric(
        key="retained_drift",
        compute=retained_drift,
        label="Drift",
        meaning="how far the retained images moved; 1 is the distance of two unrelated images",
        format="{:.2f}",
        better="lower",
        group=Group.CHANGE,
        applies=applies,
        order=90,
    ),
    Metric(
        key="retained_same_class",
        compute=retained_same_class,
        label="Same class",
        meaning="share of the retained seeds that still draw the same class",
        better="higher",
        group=Group.CHANGE,
        applies=applies,
        order=91,
    ),
    Metric(
        key="retained_share_tv",
        compute=retained_share_tv,
        label="Shares moved",
        meaning="total variation of the retained classes' shares, before against after",
        format="{:.3f}",
        better="lower",
        bounds=(0.0, 1.0),
        group=Group.CHANGE,
        applies=several_classes,
        order=92,
    ),
    Metric(
        key="least_retained_ratio",
        compute=least_retained,
        label="Least retained class",
        meaning="share after ÷ share before of the retained class that lost most",
        format="{:.2f}",
        better="higher",
        group=Group.CHANGE,
        applies=some_class_drawn,
        order=93,
    ),
)

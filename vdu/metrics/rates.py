"""Rates by the judge: what is left of the concept, and how often other prompts are still obeyed.

UA, IRA and CRA are the unlearning accuracy, in-domain and cross-domain retain accuracy of UnlearnCanvas (Zhang et al. 2024).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch

from vdu.concepts.base import EARLIER, INSTEAD, KEPT, PARAPHRASE, UNPROMPTED
from vdu.intervals import wilson
from vdu.metrics.base import Evidence, Figures, Group, Metric, estimate, pooled, rate

CONFIDENT = 0.8  # an image is clear if some class has a higher probability


def percentage_of_unlearning(before: tuple[int, int], after: tuple[int, int]) -> Figures:
    """PUL = 100 (before - after) / before of two forget rates, with its 95 % interval.

    The interval is that of a ratio of independent rates, from the Wilson interval of each (MOVER-R: Donner & Zou 2012). Both
    rates are of the same seeds, which makes it rather too wide.

    Args:
        before, after: (hits, count) of each forget rate.

    Returns:
        pul and pul_ci95, in percent, at most 100; both None where the model never drew the class.
    """
    if before[0] == 0:
        return estimate("pul", None, None)
    (was, (was_low, was_high)), (now, (now_low, now_high)) = ((hits / n, wilson(hits, n)) for hits, n in (before, after))
    product = was * now
    high = (product + math.sqrt(product**2 - now_high * (2 * now - now_high) * was_low * (2 * was - was_low))) / (
        was_low * (2 * was - was_low)
    )
    low = (product - math.sqrt(product**2 - now_low * (2 * now - now_low) * was_high * (2 * was - was_high))) / (
        was_high * (2 * was - was_high)
    )
    return estimate("pul", 100 * (was - now) / was, (100 * (1 - high), 100 * (1 - low)))


def forget_rate(evidence: Evidence) -> Figures:
    """Share of samples that show the concept to forget, among those whose prompts name it."""
    return rate("forget_rate", evidence.forgotten_shown)


def unlearning_accuracy(evidence: Evidence) -> Figures:
    """UA = 1 - forget rate, with the same interval mirrored."""
    return rate("ua", ~evidence.forgotten_shown)


def corrected_forget_rate(evidence: Evidence) -> Figures:
    """The true forget rate behind that of a fitted judge, by its errors in cross-validation.

    None if its false alarms are not known.
    """
    shown = evidence.forgotten_shown
    return evidence.error_rates.corrected(int(shown.sum()), len(shown))


def pul(evidence: Evidence) -> Figures:
    """Percentage of unlearning; None where the model never drew the class."""
    shown_before = evidence.before.at(evidence.before.targets).showing(evidence.concept.class_sets)
    return percentage_of_unlearning(*((int(shown.sum()), len(shown)) for shown in (shown_before, evidence.forgotten_shown)))


def pul_over_runs(before: Sequence[Figures], after: Sequence[Figures]) -> Figures:
    """PUL of the forget rates over all samples of several runs; None if their counts are not known."""
    sides = [pooled("forget_rate", runs) for runs in (before, after)]
    if None in sides:
        return estimate("pul", None, None)
    counts = [side["forget_rate_n"] for side in sides]
    hits = [round(side["forget_rate"] * count) for side, count in zip(sides, counts, strict=True)]
    return percentage_of_unlearning(*zip(hits, counts, strict=True))


def target_samples(evidence: Evidence) -> Figures:
    """The number of samples that the forget rate is a share of."""
    return {"target_samples": len(evidence.targets.images)}


def forgotten_before(evidence: Evidence) -> Figures:
    """Forget rates of what earlier runs made the model forget, by name, if this run sampled for it.

    Each is a share of the samples whose prompts name it, or of all samples if the model takes no prompts.
    """
    samples, concept, found = evidence.samples, evidence.concept, {}
    earlier = samples.of_kind(EARLIER)
    for name in concept.forgotten:
        class_sets = concept.class_sets_of(name)
        asked = earlier & torch.tensor(
            [any({*classes} <= {*spec.classes} for classes in class_sets) for spec in samples.specs]
        )
        rows = asked if concept.takes_prompts else torch.ones_like(asked)
        if rows.any():
            found[name] = rate("forget_rate", samples.showing(class_sets)[rows])
    return {"forgotten_before": found}


def class_shares(evidence: Evidence) -> Figures:
    """Class -> share of the forget rate's samples, on the first axis that the concept is about."""
    axes, axis = list(evidence.concept.axes.values()), evidence.concept.axes_named[0]
    names, first = axes[axis], sum(len(part) for part in axes[:axis])
    counts = torch.bincount(evidence.targets.classes[:, axis] - first, minlength=len(names)).tolist()
    counted = list(zip(names, counts, strict=True))
    return {
        "class_shares": {name: count / sum(counts) for name, count in counted},
        "class_shares_ci95": {name: wilson(count, sum(counts)) for name, count in counted},
    }


def confident(evidence: Evidence) -> Figures:
    """Share of samples in which on every axis some class has a probability above `CONFIDENT`."""
    return rate("confident", evidence.samples.certainty(evidence.samples.classes) > CONFIDENT)


def has_kept_prompts(evidence: Evidence) -> bool:
    """Whether some samples have prompts to keep, as with text-to-image models."""
    return bool(evidence.samples.of_kind(KEPT).any())


def has_other_axes(evidence: Evidence) -> bool:
    """Whether there are prompts to keep, and images are judged on an axis that the concept is not about."""
    return has_kept_prompts(evidence) and len(evidence.concept.axes_named) < len(evidence.concept.axes)


def has_kind(kind: str) -> Callable[[Evidence], bool]:
    """A function that tells whether there are prompts to keep, and prompts of a kind."""
    return lambda evidence: has_kept_prompts(evidence) and bool(evidence.samples.of_kind(kind).any())


def in_domain_retain_accuracy(evidence: Evidence) -> Figures:
    """IRA: share of the other prompts' samples that show what the prompt asks for, on the axes that the concept is about.

    Prompts that leave one of these axes open do not count, since nothing can be wrong there.
    """
    samples, named = evidence.samples, evidence.concept.axes_named
    asked = torch.tensor([spec.classes for spec in samples.specs])
    rows = samples.of_kind(KEPT) & (asked[:, named] >= 0).all(1)
    return rate("ira", samples.right[rows][:, named].all(1))


def cross_domain_retain_accuracy(evidence: Evidence) -> Figures:
    """CRA: share of samples right on the other axes, for target and kept prompts; cra_target: for target prompts."""
    right = evidence.samples.right
    others = [axis for axis in range(right.shape[1]) if axis not in evidence.concept.axes_named]
    right, targets = right[:, others].all(1), evidence.samples.targets
    return rate("cra", right[targets | evidence.samples.of_kind(KEPT)]) | rate("cra_target", right[targets])


def rate_of_kind(kind: str, evidence: Evidence) -> Figures:
    """Share of samples that show the concept to forget, among the samples of one prompt kind."""
    rows = evidence.samples.of_kind(kind)
    return rate(f"{kind}_rate", evidence.samples.showing(evidence.concept.class_sets)[rows])


METRICS = (
    Metric(
        key="forget_rate",
        compute=forget_rate,
        label="Forget rate",
        meaning="share of samples in which the judge sees what the model must forget",
        better="lower",
        group=Group.FORGETTING,
        order=10,
    ),
    Metric(
        key="ua",
        compute=unlearning_accuracy,
        label="UA",
        meaning="unlearning accuracy: 1 − forget rate",
        better="higher",
        group=Group.FORGETTING,
        order=11,
    ),
    Metric(
        key="forget_rate_corrected",
        compute=corrected_forget_rate,
        label="Forget rate, corrected",
        meaning="forget rate, corrected for the errors of the judge fitted on your pictures",
        better="lower",
        group=Group.FORGETTING,
        applies=lambda evidence: evidence.error_rates is not None,
        order=12,
    ),
    Metric(
        key="pul",
        compute=pul,
        label="PUL",
        meaning="percentage of unlearning: how much of the forget rate before is gone",
        format="{:.1f} %",
        better="higher",
        group=Group.FORGETTING,
        bounds=(-math.inf, 100.0),
        pool=pul_over_runs,
        applies=lambda evidence: evidence.before is not None,
        order=13,
    ),
    Metric(key="target_samples", compute=target_samples, order=31),
    Metric(key="forgotten_before", compute=forgotten_before, group=Group.FORGETTING, order=40),
    Metric(key="class_shares", compute=class_shares, order=41),
    Metric(
        key="confident",
        compute=confident,
        label="Clear",
        meaning="share of samples that the judge assigns to a class with a probability above 0.8",
        better="higher",
        order=50,
    ),
    Metric(
        key="ira",
        compute=in_domain_retain_accuracy,
        label="IRA",
        meaning="in-domain retain accuracy: other prompts drawn rightly, in the kind of thing forgotten",
        better="higher",
        applies=has_kept_prompts,
        order=60,
    ),
    Metric(
        key="cra",
        compute=cross_domain_retain_accuracy,
        label="CRA",
        meaning="cross-domain retain accuracy: prompts drawn rightly, in the other kind of thing",
        better="higher",
        applies=has_other_axes,
        order=61,
    ),
    Metric(
        key="paraphrase_rate",
        compute=partial(rate_of_kind, PARAPHRASE),
        label="In other words",
        meaning="forget rate of prompts in words that no forget image had in its caption",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(PARAPHRASE),
        order=62,
    ),
    Metric(
        key="instead_rate",
        compute=partial(rate_of_kind, INSTEAD),
        label="Left open",
        meaning="share of samples that show it although the prompt leaves it open",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(INSTEAD),
        order=63,
    ),
    Metric(
        key="unprompted_rate",
        compute=partial(rate_of_kind, UNPROMPTED),
        label="No prompt",
        meaning="share of samples that show it without any prompt; guidance starts from these",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(UNPROMPTED),
        order=64,
    ),
)

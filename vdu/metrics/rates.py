"""Rates of what the judge sees: what is left of the concept, and how far other prompts are still obeyed.

UA, IRA and CRA are the unlearning accuracy, in-domain and cross-domain retain accuracy of UnlearnCanvas (Zhang et al. 2024).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vdu.concepts.base import EARLIER, INSTEAD, KEPT, PARAPHRASE, UNPROMPTED
from vdu.intervals import wilson
from vdu.metrics.base import Evidence, Figures, Group, Metric, estimate, rate

CONFIDENT = 0.8  # probability from which an image counts as clearly of a class


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
    return estimate("pul", 100 * (1 - now / was), (100 * (1 - high), 100 * (1 - low)))


def forget_rate(evidence: Evidence) -> Figures:
    """Share of samples that show what is to be forgotten, of those whose prompts name it."""
    return rate("forget_rate", evidence.forgotten_shown)


def unlearning_accuracy(evidence: Evidence) -> Figures:
    """UA = 1 - forget rate, with the same interval mirrored."""
    return rate("ua", ~evidence.forgotten_shown)


def corrected(evidence: Evidence) -> Figures:
    """The true share behind the forget rate of a fitted judge, by its errors in cross-validation.

    None where these are not all known.
    """
    shown = evidence.forgotten_shown
    return evidence.error_rates.corrected(int(shown.sum()), len(shown))


def pul(evidence: Evidence) -> Figures:
    """Percentage of unlearning; None where the model never drew the class."""
    shown_before = evidence.before.at(evidence.before.targets).showing(evidence.concept.class_sets)
    return percentage_of_unlearning(*((int(shown.sum()), len(shown)) for shown in (shown_before, evidence.forgotten_shown)))


def target_samples(evidence: Evidence) -> Figures:
    """The n of the forget rate."""
    return {"target_samples": len(evidence.targets.images)}


def forgotten_before(evidence: Evidence) -> Figures:
    """The forget rate of everything that earlier runs made the model forget, by name, as far as this run asked for it.

    Of the samples whose prompts name it, or all samples where the model takes no prompts.
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
    """Class -> share of the samples that the forget rate is about, on the first axis that the concept is about."""
    axes, axis = list(evidence.concept.axes.values()), evidence.concept.axes_named[0]
    names, first = axes[axis], sum(len(part) for part in axes[:axis])
    counts = torch.bincount(evidence.targets.classes[:, axis] - first, minlength=len(names)).tolist()
    counted = list(zip(names, counts, strict=True))
    return {
        "class_shares": {name: count / sum(counts) for name, count in counted},
        "class_shares_ci95": {name: wilson(count, sum(counts)) for name, count in counted},
    }


def confident(evidence: Evidence) -> Figures:
    """Share of samples in which some class of every axis gets a probability above `CONFIDENT`."""
    return rate("confident", evidence.samples.certainty(evidence.samples.classes) > CONFIDENT)


def prompted(evidence: Evidence) -> bool:
    """Whether some samples have prompts that do not name the concept, as those of text-to-image models do."""
    return bool(evidence.samples.of_kind(KEPT).any())


def has_other_axes(evidence: Evidence) -> bool:
    """Whether the model is prompted, and images are judged on an axis that the concept is not about."""
    return prompted(evidence) and len(evidence.concept.axes_named) < len(evidence.concept.axes)


def has_kind(kind: str) -> Callable[[Evidence], bool]:
    """Whether the model is prompted, and some prompts are of a kind."""
    return lambda evidence: prompted(evidence) and bool(evidence.samples.of_kind(kind).any())


def as_asked(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Class indices that the prompts name, int (n, axes), -1 for none, and where the judge sees these, bool (n, axes)."""
    asked = torch.tensor([spec.classes for spec in evidence.samples.specs])
    return asked, (evidence.samples.classes == asked) | (asked < 0)


def in_domain_retain_accuracy(evidence: Evidence) -> Figures:
    """IRA: share of the other prompts' samples that show what was asked for on the axes that the concept is about.

    Prompts that leave one of these axes open do not count: nothing can be wrong there.
    """
    (asked, right), named = as_asked(evidence), evidence.concept.axes_named
    rows = evidence.samples.of_kind(KEPT) & (asked[:, named] >= 0).all(1)
    return rate("ira", right[rows][:, named].all(1))


def cross_domain_retain_accuracy(evidence: Evidence) -> Figures:
    """CRA: share of samples that show what was asked for on the other axes, of all prompts; cra_target: of the target's."""
    _, right = as_asked(evidence)
    others = [axis for axis in range(right.shape[1]) if axis not in evidence.concept.axes_named]
    right, targets = right[:, others].all(1), evidence.samples.targets
    return rate("cra", right[targets | evidence.samples.of_kind(KEPT)]) | rate("cra_target", right[targets])


def rate_of_kind(kind: str, evidence: Evidence) -> Figures:
    """Share of samples that show what is to be forgotten, of the prompts of a kind, and their n."""
    rows = evidence.samples.of_kind(kind)
    figures = rate(f"{kind}_rate", evidence.samples.showing(evidence.concept.class_sets)[rows])
    return figures | {f"{kind}_samples": int(rows.sum())}


METRICS = (
    Metric(
        key="forget_rate",
        compute=forget_rate,
        label="Forget rate",
        meaning="share of samples in which the judge sees what is to be forgotten",
        better="lower",
        group=Group.FORGETTING,
        order=10,
    ),
    Metric(
        key="ua",
        compute=unlearning_accuracy,
        label="UA",
        meaning="unlearning accuracy: share of samples without what is to be forgotten",
        better="higher",
        group=Group.FORGETTING,
        order=11,
    ),
    Metric(
        key="forget_rate_corrected",
        compute=corrected,
        label="Forget rate, corrected",
        meaning="forget rate less the errors of a judge that was fitted on pictures",
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
        meaning="share of samples some class gets with probability above 0.8",
        better="higher",
        order=50,
    ),
    Metric(
        key="ira",
        compute=in_domain_retain_accuracy,
        label="IRA",
        meaning="in-domain retain accuracy: other prompts' samples that are right on the same axis",
        better="higher",
        applies=prompted,
        order=60,
    ),
    Metric(
        key="cra",
        compute=cross_domain_retain_accuracy,
        label="CRA",
        meaning="cross-domain retain accuracy: samples that are right on the other axis",
        better="higher",
        applies=has_other_axes,
        order=61,
    ),
    Metric(
        key="paraphrase_rate",
        compute=partial(rate_of_kind, PARAPHRASE),
        label="In other words",
        meaning="forget rate of prompts in words that no forget image came with",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(PARAPHRASE),
        order=62,
    ),
    Metric(
        key="instead_rate",
        compute=partial(rate_of_kind, INSTEAD),
        label="Left open",
        meaning="share of samples that show it where the prompt does not say whether they should",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(INSTEAD),
        order=63,
    ),
    Metric(
        key="unprompted_rate",
        compute=partial(rate_of_kind, UNPROMPTED),
        label="No prompt",
        meaning="share of samples that show it without any prompt, where guidance starts from",
        better="lower",
        group=Group.FORGETTING,
        applies=has_kind(UNPROMPTED),
        order=64,
    ),
)

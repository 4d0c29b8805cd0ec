"""Interim."""

import torch
from torch import Tensor

from vdu import metrics
from vdu.concepts.base import EARLIER, INSTEAD, KEPT, PARAPHRASE, TARGET, UNPROMPTED, ClassSets, Concept
from vdu.samples import Samples
from vdu.task import Task


def figures_of(samples: Samples, task: Task, earlier: Samples | None = None) -> dict[str, object]:
    """What is reported of one model, as plain values.

    Rates come with their Wilson interval under the same name and _ci95.

    Returns:
        forget_rate: share of samples judged to be `forget`, of those that were asked for it where words are taken.
        forget_rate_corrected: for a judge that was fitted, the true share that this speaks for, by its errors in
            cross-validation; with its interval (Lang & Reiczigel), both None where not all of its errors are known.
        retain_fid: Fréchet distance of the kept samples' features to those of real test images of the other classes,
            with its bootstrap interval retain_fid_ci95; None for fewer than two such samples, or without such images.
        retain_fid_floor: the same for as many real training images: what a perfect model would score at this n.
        retained_samples: that n; target_samples: the n of forget_rate.
        forgotten_before: what the model forgot in earlier runs -> forget_rate of it, as far as it was not asked for now.
        class_shares: class -> share of the samples that forget_rate is about, on the (first) axis of `forget`; with
            class_shares_ci95.
        confident: share of samples in which some class of every axis gets a probability > 0.8.
        For models that take a prompt also:
            ira: share of kept samples that show what they were asked for on the axes that `forget` is about, if they were.
            cra: share of kept and target samples that show what they were asked for on the other axes, where there are any;
            cra_target: of the target samples alone.
            paraphrase_rate: forget rate of prompts in words that no forget image had; paraphrase_samples: their n.
            instead_rate: share of samples that show `forget` where the prompt leaves it open, as "a sneaker" does for "red".
            unprompted_rate: the same without any prompt; instead_samples, unprompted_samples: their n.
    """
    entry, reference, forget = task.concept, task.reference, task.concept
    wanted, named, names = entry.class_sets, entry.axes_named, list(entry.axes.values())
    axis, targets, kept = named[0], samples.at(samples.of_kind(TARGET)), samples.at(samples.kept(entry.excluded_class_sets))
    first, shown = sum(len(part) for part in names[:axis]), targets.showing(wanted)
    counts = torch.bincount(targets.classes[:, axis] - first, minlength=len(names[axis])).tolist()
    distance = interval = floor = None
    if reference.statistics and len(kept.images) >= 2:
        reference = metrics.Moments.pooled([reference.statistics[name] for name in entry.retained_classes])
        distance = metrics.frechet_distance(metrics.Moments.of(kept.features), reference)
        interval = metrics.fid_interval(kept.features, reference)
        floor = floor_of(task, len(kept.images))
    return {
        **rate("forget_rate", shown),
        **(task.judge.error_rates.corrected(int(shown.sum()), len(shown)) if task.judge.error_rates else {}),
        "retain_fid": distance,
        "retain_fid_ci95": interval,
        "retain_fid_floor": floor,
        "retained_samples": len(kept.images),
        "target_samples": len(targets.images),
        "forgotten_before": come_back(samples, entry),
        "class_shares": {name: count / sum(counts) for name, count in zip(names[axis], counts, strict=True)},
        "class_shares_ci95": {
            name: metrics.wilson(count, sum(counts)) for name, count in zip(names[axis], counts, strict=True)
        },
        **rate("confident", samples.certainty(samples.classes) > 0.8),
        **(obedience(samples, wanted, named) if samples.of_kind(KEPT).any() else {}),
        **(changes(earlier, samples, entry) if earlier else {}),
    }


def come_back(samples: Samples, entry: Concept) -> dict[str, dict[str, object]]:
    """The forget rate of all that was forgotten before: of the samples that were asked for it, or where no words are taken,
    of all."""
    found, before = {}, samples.of_kind(EARLIER)
    for name in entry.forgotten:
        wanted = entry.class_sets_of(name)
        asked = before & torch.tensor([any({*which} <= {*ask.classes} for which in wanted) for ask in samples.specs])
        rows = asked if entry.takes_prompts else torch.ones_like(asked)
        if rows.any():
            found[name] = rate("forget_rate", samples.showing(wanted)[rows])
    return found


def obedience(samples: Samples, wanted: ClassSets, named: list[int]) -> dict[str, object]:
    """How far the samples show what they were asked for; see `figures_of`."""
    asked = torch.tensor([ask.classes for ask in samples.specs])
    right = (samples.classes == asked) | (asked < 0)
    target, kept = samples.of_kind(TARGET), samples.of_kind(KEPT)
    told = kept & (asked[:, named] >= 0).all(1)  # where the prompt leaves it open, nothing can be wrong
    figures = rate("ira", right[told][:, named].all(1))
    if others := [axis for axis in range(right.shape[1]) if axis not in named]:
        other = right[:, others].all(1)
        figures |= rate("cra", other[target | kept]) | rate("cra_target", other[target])
    for kind in (PARAPHRASE, INSTEAD, UNPROMPTED):
        if (those := samples.of_kind(kind)).any():
            figures |= rate(f"{kind}_rate", samples.showing(wanted)[those]) | {f"{kind}_samples": int(those.sum())}
    return figures


def rate(name: str, flags: Tensor) -> dict[str, object]:
    """The share of flags that are set, and its interval."""
    hits, count = int(flags.sum()), len(flags)
    return {name: hits / count, f"{name}_ci95": metrics.wilson(hits, count)}


def changes(before: Samples, after: Samples, entry: Concept) -> dict[str, object]:
    """How far what should stay has moved: over the seeds whose prompts do not ask for `forget`, or without words, the seeds
    that did not draw it before.

    Returns:
        retained_drift: mean feature distance of same-seed pairs, in units of that of unrelated images.
        retained_same_class: share of those seeds whose image is still judged the same, with retained_same_class_ci95.
        retained_share_tv: total variation between the retained classes' shares before and after.
        least_retained_ratio: the smallest ratio after / before among the retained classes' shares, with the class.
    """
    axis, rows = entry.axes_named[0], before.kept(entry.excluded_class_sets)
    if not rows.any():  # the model drew nothing but the class to forget: nothing could be kept
        return {}
    before, after = before.at(rows), after.at(rows)
    others = [entry.classes.index(name) for name in entry.retained_classes]
    counts = [torch.bincount(part.classes[:, axis], minlength=len(entry.classes))[others] for part in (before, after)]
    ratios = (counts[1] / counts[0].clamp(min=1)).tolist()
    worst = min(range(len(others)), key=ratios.__getitem__)
    return {
        "retained_drift": metrics.relative_drift(before.features, after.features),
        **rate("retained_same_class", (before.classes == after.classes).all(1)),
        "retained_share_tv": metrics.total_variation(counts[0].tolist(), counts[1].tolist()),
        "least_retained_ratio": ratios[worst],
        "least_retained_class": entry.classes[others[worst]],
    }


def floor_of(task: Task, count: int) -> float:
    names, reference = task.concept.retained_classes, task.reference
    real = torch.cat([reference.real_features(name) for name in names])
    return metrics.real_floor(real, metrics.Moments.pooled([reference.statistics[name] for name in names]), count)

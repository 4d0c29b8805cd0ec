"""One full measurement of a model: draw, judge, and put figures with intervals to it."""

import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from vdu import metrics
from vdu.entries import EARLIER, INSTEAD, KEPT, PARAPHRASE, TARGET, UNPROMPTED, Ask, Entry, Shown
from vdu.events import Progress
from vdu.models import Model
from vdu.sampling import HowToSample, sample


@dataclass(frozen=True)
class Samples:
    """Images a model drew, what they were asked for and what the judges made of them, in the order of their seeds."""

    images: Tensor  # uint8 (n, c, h, w)
    probabilities: Tensor  # (n, classes), of each axis in turn
    features: Tensor  # (n, k), float64
    classes: Tensor  # (n, axes): the position, among all classes, of the most probable one on each axis
    asks: tuple[Ask, ...]  # n

    def at(self, rows: Tensor) -> "Samples":
        """Some of the samples, by their rows or by a mask."""
        places = torch.arange(len(self.images))[rows].tolist()
        return Samples(*(part[rows] for part in (self.images, self.probabilities, self.features, self.classes)),
                       tuple(self.asks[place] for place in places))  # fmt: skip

    def of_kind(self, kind: str) -> Tensor:
        """Which of the samples were asked for in a way, bool (n,)."""
        return torch.tensor([ask.kind == kind for ask in self.asks])

    def showing(self, wanted: Shown) -> Tensor:
        """Which of the samples show all classes of any of some sets, bool (n,)."""
        shown = [torch.stack([(self.classes == index).any(1) for index in classes]).all(0) for classes in wanted]
        return torch.stack(shown).any(0)

    def kept(self, wanted: Shown) -> Tensor:
        """Which of the samples are of the rest: those that ask for it, or where nothing is asked, show it; bool (n,).

        What asks for it may leave a class open, as "a sneaker" does its colour: then it must not show what is to be forgotten.
        """
        asking, shown = self.of_kind(KEPT), self.showing(wanted)
        leaves_open = torch.tensor([-1 in ask.classes for ask in self.asks])
        return asking & ~(leaves_open & shown) if asking.any() else ~shown

    def certainty(self, classes: Tensor) -> Tensor:
        """How sure the judges are of given classes (n, axes): the least probability of them, (n,)."""
        return self.probabilities.gather(1, classes).min(1).values


def judged(images: Tensor, entry: Entry, asks: Sequence[Ask]) -> Samples:
    """Images with what the judges make of them."""
    probabilities, features = entry.judge(images)
    best, first = [], 0
    for names in entry.axes.values():
        best.append(first + probabilities[:, first : first + len(names)].argmax(1))
        first += len(names)
    return Samples(images, probabilities, features, torch.stack(best, dim=1), tuple(asks))


@dataclass
class Clock:
    """The pace of a phase, and from it the seconds left."""

    phase: str
    total: int
    started: float = field(default_factory=time.monotonic)

    def progress(self, done: int) -> Progress:
        """A progress event."""
        elapsed = time.monotonic() - self.started
        return Progress(self.phase, done, self.total, elapsed * (self.total - done) / done if done else None)


def draw(
    phase: str, model: Model, entry: Entry, seeds: list[int], how: HowToSample, asks: Sequence[Ask] | None = None
) -> Generator[Progress, None, Samples]:
    """Sample and judge, with progress events on the way; see `sampling.sample`."""
    asks, clock = asks or [Ask()] * len(seeds), Clock(phase, len(seeds) * how.steps)
    stream = sample(model, seeds, how, [ask.prompt for ask in asks])
    while True:
        try:
            yield clock.progress(next(stream))
        except StopIteration as stop:
            return judged(stop.value, entry, asks)


_DRAWN: OrderedDict[tuple[object, ...], Samples] = OrderedDict()  # what untouched models drew, most recent last
REMEMBERED, REMEMBERED_BYTES = 8, 1 << 30


def draw_pristine(
    phase: str, model: Model, entry: Entry, seeds: list[int], how: HowToSample, asks: Sequence[Ask] | None = None
) -> Generator[Progress, None, Samples]:
    """`draw` for a model whose weights are still those of its digest: what was drawn before is not drawn again."""
    judge, half = getattr(entry, "judge_name", entry.name), next(iter(model.unet.parameters())).dtype
    # What is trained, and so held in float32, decides how the same weights round.
    key = (model.digest, model.device, half, tuple(model.trained), judge, entry.classes, tuple(seeds), how, tuple(asks or ()))
    if key not in _DRAWN:
        _DRAWN[key] = yield from draw(phase, model, entry, seeds, how, asks)
    _DRAWN.move_to_end(key)
    samples = _DRAWN[key]
    while len(_DRAWN) > REMEMBERED or (_DRAWN and sum(drawn.images.nbytes for drawn in _DRAWN.values()) > REMEMBERED_BYTES):
        _DRAWN.popitem(last=False)
    return samples


def figures_of(samples: Samples, entry: Entry, forget: str) -> dict[str, object]:
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
    wanted, named, names = entry.wanted(forget), entry.named(forget), list(entry.axes.values())
    axis, targets, kept = named[0], samples.at(samples.of_kind(TARGET)), samples.at(samples.kept(entry.gone(forget)))
    first, shown = sum(len(part) for part in names[:axis]), targets.showing(wanted)
    counts = torch.bincount(targets.classes[:, axis] - first, minlength=len(names[axis])).tolist()
    distance = interval = floor = None
    if entry.statistics and len(kept.images) >= 2:
        reference = metrics.Moments.pooled([entry.statistics[name] for name in entry.others(forget)])
        distance = metrics.frechet_distance(metrics.Moments.of(kept.features), reference)
        interval = metrics.fid_interval(kept.features, reference)
        floor = floor_of(entry, forget, len(kept.images))
    return {
        **rate("forget_rate", shown),
        **(entry.accuracy.corrected(int(shown.sum()), len(shown)) if entry.accuracy else {}),
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
    }


def come_back(samples: Samples, entry: Entry) -> dict[str, dict[str, object]]:
    """The forget rate of all that was forgotten before: of the samples that were asked for it, or where no words are taken,
    of all."""
    found, before = {}, samples.of_kind(EARLIER)
    for name in entry.forgotten:
        wanted = entry.wanted(name)
        asked = before & torch.tensor([any({*which} <= {*ask.classes} for which in wanted) for ask in samples.asks])
        rows = asked if entry.takes_words else torch.ones_like(asked)
        if rows.any():
            found[name] = rate("forget_rate", samples.showing(wanted)[rows])
    return found


def obedience(samples: Samples, wanted: Shown, named: list[int]) -> dict[str, object]:
    """How far the samples show what they were asked for; see `figures_of`."""
    asked = torch.tensor([ask.classes for ask in samples.asks])
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


def changes(before: Samples, after: Samples, entry: Entry, forget: str) -> dict[str, object]:
    """How far what should stay has moved: over the seeds whose prompts do not ask for `forget`, or without words, the seeds
    that did not draw it before.

    Returns:
        retained_drift: mean feature distance of same-seed pairs, in units of that of unrelated images.
        retained_same_class: share of those seeds whose image is still judged the same, with retained_same_class_ci95.
        retained_share_tv: total variation between the retained classes' shares before and after.
        least_retained_ratio: the smallest ratio after / before among the retained classes' shares, with the class.
    """
    axis, rows = entry.named(forget)[0], before.kept(entry.gone(forget))
    if not rows.any():  # the model drew nothing but the class to forget: nothing could be kept
        return {}
    before, after = before.at(rows), after.at(rows)
    others = [entry.classes.index(name) for name in entry.others(forget)]
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


@lru_cache(maxsize=256)
def floor_of(entry: Entry, forget: str, count: int) -> float:
    """`metrics.real_floor` for `count` shipped training images of the other classes."""
    names = entry.others(forget)
    real = torch.cat([real_features(entry, name) for name in names])
    return metrics.real_floor(real, metrics.Moments.pooled([entry.statistics[name] for name in names]), count)


@lru_cache(maxsize=64)
def real_features(entry: Entry, name: str) -> Tensor:
    """The judges' features of real training images of a class."""
    return entry.real_features(name)

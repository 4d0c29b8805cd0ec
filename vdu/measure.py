"""One full measurement of a model: draw, judge, and put figures with intervals to it."""

import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from vdu import metrics
from vdu.catalog import CATALOG, Entry
from vdu.events import Progress
from vdu.models import DDPM
from vdu.sampling import sample


@dataclass(frozen=True)
class Samples:
    """Images a model drew and what the judge made of them, in the order of their seeds."""

    images: Tensor  # uint8 (n, c, h, w)
    probabilities: Tensor  # (n, classes)
    features: Tensor  # (n, k), float64

    @property
    def classes(self) -> Tensor:
        """The most probable class of each image, (n,)."""
        return self.probabilities.argmax(1)

    def at(self, rows: Tensor) -> "Samples":
        """Some of the samples, by their rows or by a mask."""
        return Samples(self.images[rows], self.probabilities[rows], self.features[rows])


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
    phase: str, model: DDPM, entry: Entry, seeds: list[int], steps: int, sampler: str = "ode"
) -> Generator[Progress, None, Samples]:
    """Sample and judge, with progress events on the way; see `sampling.sample`."""
    clock = Clock(phase, len(seeds) * steps)
    stream = sample(model, seeds, steps, sampler)
    while True:
        try:
            yield clock.progress(next(stream))
        except StopIteration as stop:
            images = stop.value
            return Samples(images, *entry.judge.judge(images))


_DRAWN: OrderedDict[tuple[object, ...], Samples] = OrderedDict()  # what untouched models drew, most recent last
REMEMBERED = 8


def draw_pristine(
    phase: str, model: DDPM, entry: Entry, seeds: list[int], steps: int, sampler: str = "ode"
) -> Generator[Progress, None, Samples]:
    """`draw` for a model whose weights are still those of its digest: what was drawn before is not drawn again."""
    key = (model.digest, model.device, tuple(seeds), steps, sampler)
    if key not in _DRAWN:
        _DRAWN[key] = yield from draw(phase, model, entry, seeds, steps, sampler)
    _DRAWN.move_to_end(key)
    samples = _DRAWN[key]
    while len(_DRAWN) > REMEMBERED:
        _DRAWN.popitem(last=False)
    return samples


def figures_of(samples: Samples, entry: Entry, forget: str) -> dict[str, object]:
    """What is reported of one model, as plain values.

    Returns:
        forget_rate: share of samples judged to be `forget`, with its Wilson interval forget_rate_ci95.
        retain_fid: Fréchet distance of the other samples' features to those of real test images of the other classes,
            with its bootstrap interval retain_fid_ci95; None for fewer than two such samples.
        retain_fid_floor: the same for as many real training images: what a perfect model would score at this n.
        retained_samples: that n.
        class_shares: class -> share of all samples.
        confident: share of samples that some class gets with probability > 0.8, with confident_ci95.
    """
    index, count = entry.index(forget), len(samples.images)
    hits = int((samples.classes == index).sum())
    shares = torch.bincount(samples.classes, minlength=len(entry.classes)).double() / count
    sure = int((samples.probabilities.max(1).values > 0.8).sum())
    kept = samples.features[samples.classes != index]
    distance = interval = floor = None
    if len(kept) >= 2:
        reference = metrics.Moments.pooled([entry.statistics[name] for name in entry.classes if name != forget])
        distance = metrics.frechet_distance(metrics.Moments.of(kept), reference)
        interval = metrics.fid_interval(kept, reference)
        floor = floor_of(entry.name, forget, len(kept))
    return {
        "forget_rate": hits / count,
        "forget_rate_ci95": metrics.wilson(hits, count),
        "retain_fid": distance,
        "retain_fid_ci95": interval,
        "retain_fid_floor": floor,
        "retained_samples": len(kept),
        "class_shares": dict(zip(entry.classes, shares.tolist(), strict=True)),
        "confident": sure / count,
        "confident_ci95": metrics.wilson(sure, count),
    }


def changes(before: Samples, after: Samples, entry: Entry, forget: str) -> dict[str, object]:
    """How far what should stay has moved, over the seeds that did not draw `forget` before.

    Returns:
        retained_drift: mean feature distance of same-seed pairs, in units of that of unrelated images.
        retained_same_class: share of those seeds whose image is still judged the same, with retained_same_class_ci95.
        retained_share_tv: total variation between the retained classes' shares before and after.
        least_retained_ratio: the smallest ratio after / before among the retained classes' shares, with the class.
    """
    index = entry.index(forget)
    kept = before.classes != index
    if not kept.any():  # the model drew nothing but the class to forget: nothing could be kept
        return {}
    same = int((before.classes[kept] == after.classes[kept]).sum())
    others = [position for position in range(len(entry.classes)) if position != index]
    counts = [torch.bincount(part.classes, minlength=len(entry.classes))[others] for part in (before, after)]
    ratios = (counts[1] / counts[0].clamp(min=1)).tolist()
    worst = min(range(len(others)), key=ratios.__getitem__)
    return {
        "retained_drift": metrics.relative_drift(before.features[kept], after.features[kept]),
        "retained_same_class": same / int(kept.sum()),
        "retained_same_class_ci95": metrics.wilson(same, int(kept.sum())),
        "retained_share_tv": metrics.total_variation(counts[0].tolist(), counts[1].tolist()),
        "least_retained_ratio": ratios[worst],
        "least_retained_class": entry.classes[others[worst]],
    }


@lru_cache(maxsize=256)
def floor_of(model: str, forget: str, count: int) -> float:
    """`metrics.real_floor` for `count` shipped training images of the other classes."""
    entry = CATALOG[model]
    names = [name for name in entry.classes if name != forget]
    real = torch.cat([real_features(model, name) for name in names])
    return metrics.real_floor(real, metrics.Moments.pooled([entry.statistics[name] for name in names]), count)


@lru_cache(maxsize=64)
def real_features(model: str, name: str) -> Tensor:
    """The judge's features of the shipped training images of a class."""
    entry = CATALOG[model]
    return entry.judge.judge(entry.forget_images(name))[1]

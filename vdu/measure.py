"""One full measurement of a model: draw images, and let the judge say what they show. `vdu.metrics` has the figures."""

import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from vdu import metrics
from vdu.entries import KEPT, TARGET, Ask, Entry, Shown
from vdu.events import Progress
from vdu.metrics import Evidence, Figures, Moments, drift, frechet
from vdu.metrics import rate as rate  # other modules import it from here
from vdu.models import Model
from vdu.sampling import HowToSample, sample

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Samples:
    """Images a model drew, what they were asked for and what the judge made of them, in the order of their seeds."""

    images: Tensor  # uint8 (n, c, h, w)
    probabilities: Tensor  # (n, classes), of each axis in turn
    features: Tensor  # (n, k), float64
    classes: Tensor  # (n, axes): the index, among all classes, of the most probable one on each axis
    asks: tuple[Ask, ...]  # n

    def at(self, rows: Tensor) -> "Samples":
        """Some of the samples, by their rows or by a mask."""
        places = torch.arange(len(self.images))[rows].tolist()
        tensors = (self.images, self.probabilities, self.features, self.classes)
        return Samples(*(part[rows] for part in tensors), tuple(self.asks[place] for place in places))

    def of_kind(self, kind: str) -> Tensor:
        """Which of the samples have a prompt of a kind, bool (n,)."""
        return torch.tensor([ask.kind == kind for ask in self.asks])

    @property
    def targets(self) -> Tensor:
        """Which of the samples have a prompt that names what is to be forgotten, bool (n,); without prompts all of them."""
        return self.of_kind(TARGET)

    def showing(self, class_sets: Shown) -> Tensor:
        """Which of the samples show all classes of any of the sets, bool (n,)."""
        shown = [torch.stack([(self.classes == index).any(1) for index in classes]).all(0) for classes in class_sets]
        return torch.stack(shown).any(0)

    def kept(self, class_sets: Shown) -> Tensor:
        """Which of the samples are of what is to be retained, bool (n,).

        Where the model takes prompts, these are the samples of other prompts; elsewhere, the samples that show nothing of
        `class_sets`. A prompt may leave a class open, as "a sneaker" does its colour: then the sample must not show it either.
        """
        asking, shown = self.of_kind(KEPT), self.showing(class_sets)
        leaves_open = torch.tensor([-1 in ask.classes for ask in self.asks])
        return asking & ~(leaves_open & shown) if asking.any() else ~shown

    def certainty(self, classes: Tensor) -> Tensor:
        """How sure the judge is of given classes (n, axes): the least probability of them, (n,)."""
        return self.probabilities.gather(1, classes).min(1).values


def judged(images: Tensor, entry: Entry, asks: Sequence[Ask]) -> Samples:
    """Images with what the judge makes of them."""
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


def with_progress(phase: str, total: int, counts: Generator[int, None, Value]) -> Generator[Progress, None, Value]:
    """Turn a generator of counts, such as `sample`'s image-steps, into one of progress events; it returns the same value."""
    clock = Clock(phase, total)
    while True:
        try:
            yield clock.progress(next(counts))
        except StopIteration as stop:
            return stop.value


def draw(
    phase: str, model: Model, entry: Entry, seeds: list[int], how: HowToSample, asks: Sequence[Ask] | None = None
) -> Generator[Progress, None, Samples]:
    """Sample and judge, with progress events on the way; see `sampling.sample`."""
    asks = asks or [Ask()] * len(seeds)
    stream = sample(model, seeds, how, [ask.prompt for ask in asks])
    return judged((yield from with_progress(phase, len(seeds) * how.steps, stream)), entry, asks)


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


# From here on: `Entry` and what is to be forgotten, as the concept, the reference and the evidence that metrics take.


class EntryConcept:
    """An `Entry` bound to what is to be forgotten, as a `metrics.base.Concept`."""

    def __init__(self, entry: Entry, forget: str) -> None:
        self.axes, self.classes, self.takes_prompts = entry.axes, entry.classes, entry.takes_words
        self.class_sets, self.excluded_class_sets = entry.wanted(forget), entry.gone(forget)
        self.axes_named, self.retained_classes = entry.named(forget), entry.others(forget)
        self.forgotten, self.class_sets_of = entry.forgotten, entry.wanted


class EntryReference:
    """The real images of an `Entry`, as a `metrics.base.Reference`."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def statistics(self) -> dict[str, Moments]:
        """Class -> moments of the features of real test images."""
        return self._entry.statistics

    def real_features(self, name: str) -> Tensor:
        """Features (n, k) of real training images of a class."""
        return _real_features(self._entry, name)


@lru_cache(maxsize=64)
def _real_features(entry: Entry, name: str) -> Tensor:
    return entry.real_features(name)


def evidence_of(samples: Samples, entry: Entry, forget: str, before: Samples | None = None) -> Evidence:
    """What metrics are computed from."""
    return Evidence(samples, EntryConcept(entry, forget), EntryReference(entry), entry.accuracy, before)


def figures_of(samples: Samples, entry: Entry, forget: str, before: Samples | None = None) -> Figures:
    """Everything that is reported of one model; of a changed one, with what it drew before, also how far it moved."""
    return metrics.measure(evidence_of(samples, entry, forget, before))


def changes(before: Samples, after: Samples, entry: Entry, forget: str) -> Figures:
    """How far the retained images moved; {} where the model drew nothing but what is to be forgotten."""
    return drift.changes(evidence_of(after, entry, forget, before))


def floor_of(entry: Entry, forget: str, count: int) -> float:
    """`real_floor` for `count` real training images of the retained classes."""
    return frechet.floor_of(EntryReference(entry), entry.others(forget), count)

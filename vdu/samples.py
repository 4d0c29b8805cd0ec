"""What a model draws, and what the judge makes of it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vdu.concepts.base import KEPT, TARGET, Axes, ClassSets, PromptKind, PromptSpec
from vdu.data.cache import Cache
from vdu.events import Clock, Progress
from vdu.models import Model
from vdu.sampling import HowToSample, check_images, sample
from vdu.untouched import shipped_images


class Classifies(Protocol):
    """What samples need of a judge, see `judges.base`."""

    axes: Axes
    digest: str

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes) and features (n, k, float64) of uint8 images (n, c, h, w)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images that a model drew, what each was sampled for, and what the judge made of them, in the order of their seeds."""

    images: Tensor  # uint8 (n, c, h, w)
    probabilities: Tensor  # (n, classes), of each axis in turn
    features: Tensor  # (n, k), float64
    classes: Tensor  # (n, axes): the position, among all classes, of the most probable one on each axis
    specs: tuple[PromptSpec, ...]  # n

    def at(self, rows: Tensor) -> "Samples":
        """Some of the samples, by their rows or by a mask."""
        places = torch.arange(len(self.images))[rows].tolist()
        return Samples(*(part[rows] for part in (self.images, self.probabilities, self.features, self.classes)),
                       tuple(self.specs[place] for place in places))  # fmt: skip

    def judged_by(self, judge: Classifies) -> "Samples":
        """The same images with what another judge makes of them."""
        return judged(self.images, judge, self.specs)

    def of_kind(self, kind: PromptKind) -> Tensor:
        """Which of the samples are of a kind, bool (n,)."""
        return torch.tensor([spec.kind == kind for spec in self.specs])

    @property
    def targets(self) -> Tensor:
        """Which of the samples have a prompt that names what is to be forgotten, bool (n,); without prompts all of them."""
        return self.of_kind(TARGET)

    def showing(self, class_sets: ClassSets) -> Tensor:
        """Which of the samples show all classes of any of the sets, bool (n,)."""
        shown = [torch.stack([(self.classes == index).any(1) for index in classes]).all(0) for classes in class_sets]
        return torch.stack(shown).any(0)

    @property
    def right(self) -> Tensor:
        """Whether the class that a sample's prompt names is seen, or the prompt names none, bool (n, axes)."""
        asked = torch.tensor([spec.classes for spec in self.specs])
        return (self.classes == asked) | (asked < 0)

    def kept(self, class_sets: ClassSets) -> Tensor:
        """Which of the samples show the rest: of kind KEPT, or without prompts, none of the class sets; bool (n,).

        A kept prompt may leave a class open, as "a sneaker" does its colour: its image must then show none of the sets.
        """
        asking, shown = self.of_kind(KEPT), self.showing(class_sets)
        leaves_open = torch.tensor([-1 in spec.classes for spec in self.specs])
        return asking & ~(leaves_open & shown) if asking.any() else ~shown

    def certainty(self, classes: Tensor) -> Tensor:
        """How sure the judge is of given classes (n, axes): the least of their probabilities, (n,)."""
        return self.probabilities.gather(1, classes).min(1).values


def judged(images: Tensor, judge: Classifies, specs: Sequence[PromptSpec]) -> Samples:
    """Images with what the judge makes of them."""
    probabilities, features = judge.judge(images)
    best, first = [], 0
    for names in judge.axes.values():
        best.append(first + probabilities[:, first : first + len(names)].argmax(1))
        first += len(names)
    return Samples(images, probabilities, features, torch.stack(best, dim=1), tuple(specs))


def draw(
    phase: str, model: Model, judge: Classifies, seeds: list[int], how: HowToSample, specs: Sequence[PromptSpec] | None = None
) -> Generator[Progress, None, Samples]:
    """Sample and judge, with progress events on the way; see `sampling.sample`.

    Raises:
        BrokenImages: if the images show nothing.
    """
    specs = specs or [PromptSpec()] * len(seeds)
    stream = sample(model, seeds, how, [spec.prompt for spec in specs])
    images = yield from Clock(phase, len(seeds) * how.steps).follow(stream)
    check_images(images)
    return judged(images, judge, specs)


_DRAWN: Cache[Samples] = Cache(1 << 30)  # what untouched models drew


def draw_pristine(
    phase: str, model: Model, judge: Classifies, seeds: list[int], how: HowToSample, specs: Sequence[PromptSpec] | None = None
) -> Generator[Progress, None, Samples]:
    """`draw` for a model whose weights are still those of its digest: what was drawn before, or ships, is not drawn again."""
    specs = specs or [PromptSpec()] * len(seeds)
    half, axes = next(iter(model.unet.parameters())).dtype, tuple(judge.axes.items())
    # What is trained, and so held in float32, decides how the same weights round.
    key = (model.digest, model.device, half, tuple(model.trained), judge.digest, axes, tuple(seeds), how, tuple(specs))
    drawn = _DRAWN.get(key)
    if drawn is None:
        shipped = shipped_images(model, seeds, how, [spec.prompt for spec in specs])
        drawn = (yield from draw(phase, model, judge, seeds, how, specs)) if shipped is None else judged(shipped, judge, specs)
        _DRAWN.put(key, drawn, drawn.images.nbytes)
    return drawn

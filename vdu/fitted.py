"""A judge for models that nothing is known about: fitted on the spot to pictures of what shall be forgotten.

It is a logistic regression on what the convolutions of the shipped CIFAR-10 judge see. How well it does is measured by
cross-validation, and goes into the intervals (`vdu.accuracy`).
"""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vdu import data
from vdu.accuracy import Accuracy
from vdu.classifier import Classifier
from vdu.entries import ASSETS, Ask, Entry, ForgetSet, Words
from vdu.errors import UserError
from vdu.events import Progress
from vdu.measure import Clock
from vdu.metrics import Moments
from vdu.models import Model
from vdu.sampling import HowToSample, image_seeds, sample
from vdu.told import OTHERWISE

FEWEST = 8  # pictures of a kind: fewer say too little of the judge's errors
FOLDS = 8  # of the cross-validation: of the fewest pictures each is left out once
PENALTY = 3e-4  # of squared weights, on features whose variances add up to one: best of 1e-4 … 0.1 (docs/method.md, 14)
DRAWN = 128  # images of the model's own that stand for the rest, where no pictures to keep are given
DRAWN_SEED = 2**32  # out of reach of the seeds that runs steer by and measure with
SIZE = 32  # pixels that the convolutions were trained on


@lru_cache(maxsize=1)
def eye() -> Classifier:
    """The shipped judge of CIFAR-10, of which all but the last layers is used."""
    return Classifier.load(ASSETS / "cifar10-ddpm" / "classifier")


@torch.no_grad()
def look(images: Tensor, batch_size: int = 250) -> tuple[Tensor, Tensor]:
    """What the convolutions see in uint8 images (n, 1 or 3, h, w) of any size.

    The layer before the judge's last one: of the layers tried it transfers best to classes that it was not trained on.

    Returns:
        features (n, 280, float64), and the probabilities of CIFAR-10's classes (n, 10), on the CPU.
    """
    convolutions, last = eye().features[:-3], eye().features[-3:]
    parts = []
    for part in images.split(batch_size):
        pixels = (part.float() / 127.5 - 1).expand(-1, 3, -1, -1)
        if pixels.shape[2:] != (SIZE, SIZE):
            pixels = functional.interpolate(pixels, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        seen = convolutions(pixels)
        parts.append((seen.double(), eye().head(last(seen)).softmax(1)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


@dataclass(frozen=True)
class Line:
    """A hyperplane between features of two classes: `weights` (k,) and `bias` (), float64."""

    weights: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The logarithm of the odds, (n,), that features (n, k) are of the first class."""
        return features @ self.weights + self.bias

    @classmethod
    def between(cls, features: Tensor, of_class: Tensor) -> "Line":
        """Logistic regression of `of_class` (n,) on features (n, k), both classes of equal weight, L2 on the weights."""
        centre, scale = features.mean(0), (features.std(0) + 1e-3) * features.shape[1] ** 0.5
        inputs, signs = (features - centre) / scale, of_class.double() * 2 - 1
        shares = torch.where(of_class, 0.5 / of_class.sum(), 0.5 / (~of_class).sum()).double()
        line = torch.zeros(features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([line], max_iter=100, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            odds = inputs @ line[:-1] + line[-1]
            value = (shares * functional.softplus(-signs * odds)).sum() + PENALTY * line[:-1].square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)
        weights = line.detach()[:-1] / scale
        return cls(weights, line.detach()[-1] - centre @ weights)


def left_out(features: Tensor, of_class: Tensor, seed: int = 0) -> Tensor:
    """Log-odds (n,) of every row by a line fitted without its fold; each class is dealt evenly to the folds."""
    random, folds = torch.Generator().manual_seed(seed), torch.zeros(len(features), dtype=torch.long)
    for group in (of_class, ~of_class):
        rows = group.nonzero()[:, 0]
        folds[rows[torch.randperm(len(rows), generator=random)]] = torch.arange(len(rows)) % FOLDS
    odds = torch.zeros(len(features), dtype=torch.float64)
    for fold in range(FOLDS):
        out = folds == fold
        odds[out] = Line.between(features[~out], of_class[~out])(features[out])
    return odds


class FittedJudge:
    """Says whether an image shows what the pictures showed, and what of CIFAR-10 it looks like.

    Args:
        pictures: uint8 (n, c, h, w) of what to forget.
        rest: uint8 (m, c, h, w) of other things.
        drawn: whether the model drew the rest. Some of it may then be of the class: what a first fit takes for it is left
            out of the second, and counts as an error of the judge, which is more than there are.

    Raises:
        UserError: if the judge does not tell them apart better than chance would.
    """

    def __init__(self, pictures: Tensor, rest: Tensor, drawn: bool) -> None:
        features = torch.cat([look(pictures)[0], look(rest)[0]])
        of_class = torch.arange(len(features)) < len(pictures)
        odds = left_out(features, of_class)
        if drawn:
            clear = of_class | (odds <= 0)
            features, of_class = features[clear], of_class[clear]
            if (~of_class).sum() >= FEWEST:
                odds = left_out(features, of_class)
        found, passed = int((odds > 0)[: len(pictures)].sum()), int((odds <= 0)[len(pictures) :].sum())
        self.accuracy = Accuracy(len(pictures), found, len(rest), passed, drawn)
        if not self.accuracy.better_than_chance:
            raise UserError(
                f"A judge fitted on these {len(pictures)} pictures sees only {found} of them for what they are, and "
                f"{len(rest) - passed} of {len(rest)} others too, which is no better than chance; give more pictures, or "
                "such that have more in common (pictures, keep)."
            )
        self.line = Line.between(features, of_class)
        self.digest = hashlib.sha256(self.line.weights.numpy().tobytes()).hexdigest()[:16]

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, 2 + 10), of the class, of the rest, and of CIFAR-10's classes; and features (n, 280, float64)."""
        features, resemblance = look(images)
        sure = self.line(features).sigmoid().float()
        return torch.cat([torch.stack([sure, 1 - sure], dim=1), resemblance], dim=1), features


def drawing(stream: Generator[int, None, Tensor], clock: Clock) -> Generator[Progress, None, Tensor]:
    """What `sampling.sample` draws, with progress."""
    while True:
        try:
            yield clock.progress(next(stream))
        except StopIteration as stop:
            return stop.value


@dataclass(frozen=True)
class Fitted(Entry):
    """A concept shown in a user's own pictures, for an unconditional model of any shape.

    Its images are judged in a second way too: which of CIFAR-10's classes they look most like. That means little of a model of
    other things, but an image that stays as it is goes on looking like the same, and one that breaks does not.

    Attributes:
        keep: at most one folder, of pictures of other things that the model draws.
        judges: the fitted judge, once it is.
    """

    judges: list[FittedJudge] = field(default_factory=list, kw_only=True, compare=False)

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def of(cls, name: str, shape: tuple[int, int, int], folder: Path, words: Words) -> "Fitted":
        """An entry for a model, and what a user gives.

        Raises:
            UserError: if the model's images are neither grey nor coloured, or more than a folder is to be kept.
        """
        if shape[0] not in (1, 3):
            raise UserError(f"'{name}' draws images of {shape[0]} channels; only grey ones and coloured ones can be judged.")
        if len(words.keep) > 1:
            raise UserError(f"'{name}' draws without words; keep takes one folder of pictures.")
        axes = {"class": (words.forget, OTHERWISE), "look": tuple(eye().classes)}
        return cls(name, name, axes, shape, "see its model card", folder, keep=words.keep, pictures=words.pictures)

    def concept(self, forget: str) -> dict[str, str]:
        """Itself: an entry is made for one concept."""
        return {"class": self.classes[0]}

    def concepts(self, forget: str) -> list[dict[str, str]]:
        """Itself, whatever signs stand in it."""
        return [self.concept(forget)]

    def others(self, forget: str) -> list[str]:
        """All else."""
        return [OTHERWISE]

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = ()) -> list[Ask]:
        """Nothing is asked for.

        Raises:
            UserError: where no pictures are given that a judge could be fitted on, or the concept is all else.
        """
        if not self.pictures:
            raise UserError(
                f"'{self.name}' draws images of shape {self.shape}, for which a judge has to be fitted; give pictures of what "
                f"to forget, {FEWEST} or more (pictures)."
            )
        if self.classes[0] == OTHERWISE:
            raise UserError(f"'{OTHERWISE}' is what the rest is called; give what to forget another name.")
        return [Ask()] * count

    @cached_property
    def images(self) -> Tensor:
        """The user's pictures, uint8 (n, c, h, w).

        Raises:
            UserError: if there are fewer than `FEWEST`.
        """
        return self.enough(self.pictures, "of what to forget")

    def enough(self, folder: str, what: str) -> Tensor:
        """The pictures in a folder, of which there must be `FEWEST`."""
        images = data.read_pictures(Path(folder), self.shape)
        if len(images) < FEWEST:
            raise UserError(
                f"There are {len(images)} pictures {what} in '{folder}', and a judge is fitted on {FEWEST} or more; give more."
            )
        return images

    def forget_set(self, forget: str) -> ForgetSet:
        """The user's pictures."""
        return ForgetSet(self.images)

    def ready(self, model: Model, how: HowToSample) -> Generator[Progress, None, None]:
        """Fit the judge, if need be on what the model draws.

        Raises:
            UserError: if there are too few pictures, or they cannot be told from the rest.
        """
        if self.judges:
            return
        pictures = self.images
        if self.keep:
            rest = self.enough(self.keep[0], "of what to keep")
        else:
            stream, clock = sample(model, image_seeds(DRAWN_SEED, DRAWN), how), Clock("judge", DRAWN * how.steps)
            rest = yield from drawing(stream, clock)
        self.judges.append(FittedJudge(pictures, rest, drawn=not self.keep))

    @property
    def accuracy(self) -> Accuracy | None:
        """Of the fitted judge; None before it is fitted."""
        return self.judges[0].accuracy if self.judges else None

    @property
    def judge_name(self) -> str:
        """Names the judge in what is remembered of its verdicts."""
        return self.judges[0].digest

    @property
    def statistics(self) -> dict[str, Moments]:
        """None: the pictures are too few for them."""
        return {}

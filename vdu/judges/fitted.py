"""A judge for models without a classifier, which a run fits on pictures of the concept to forget.

It is a logistic regression on features of the shipped CIFAR-10 classifier. Cross-validation measures its error rates, by
which rates and intervals are corrected (`vdu.judges.error_rates`).
"""

from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from vdu.assets import ASSETS
from vdu.concepts.base import Axes
from vdu.data.files import shortened
from vdu.data.pictures import as_bytes, read_pictures
from vdu.errors import UserError
from vdu.events import Clock, Progress
from vdu.judges.classifier import Classifier
from vdu.judges.error_rates import ErrorRates
from vdu.models import Model
from vdu.models.digest import digest_of
from vdu.sampling import HowToSample, Role, check_images, image_seeds, sample

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FEWEST = 8  # pictures of the concept, and of other things: fewer say too little about the judge's errors
FOLDS = 8  # of the cross-validation; with `FEWEST` pictures, each is left out once
PENALTY = 3e-4  # on squared weights, for features whose variances add up to 1: the best of 1e-4 … 0.1 (docs/method.md, 14)
DRAWN = 128  # images that the model draws for everything else, if no pictures to keep are given
CONVOLUTIONS = ASSETS / "cifar10-ddpm" / "classifier"
SIZE = 32  # height and width of the images that the convolutions were trained on


@lru_cache(maxsize=1)
def backbone() -> Classifier:
    """The shipped judge of CIFAR-10, whose convolutions give the features."""
    return Classifier.load(CONVOLUTIONS)


@torch.no_grad()
def features_of(images: Tensor, batch_size: int = 250) -> tuple[Tensor, Tensor]:
    """Features of uint8 images (n, 1 or 3, h, w) of any size, from the convolutions of the backbone.

    They are the output of the backbone's last convolution: of all layers tried, it transfers best to new classes.

    Returns:
        features (n, 280, float64), and the probabilities of CIFAR-10's classes (n, 10), on the CPU.
    """
    convolutions, last = backbone().features[:-3], backbone().features[-3:]
    parts = []
    for part in images.split(batch_size):
        pixels = (part.float() / 127.5 - 1).expand(-1, 3, -1, -1)
        if pixels.shape[2:] != (SIZE, SIZE):
            pixels = functional.interpolate(pixels, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        seen = convolutions(pixels)
        parts.append((seen.double(), backbone().head(last(seen)).softmax(1)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def one_thread() -> threadpool_limits:
    """A context in which a fit gives the same bits at any number of threads, which would change the order of sums."""
    return threadpool_limits(1, user_api="blas")


def logistic_regression(count: int, width: int) -> "Pipeline":
    """Unfitted, for `count` rows of `width` features; equal weight for both classes and an L2 penalty on the weights."""
    from sklearn.linear_model import LogisticRegression  # takes seconds to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # scikit-learn minimises |w|² / 2 + C · (the rows' losses, with weights that add up to their count). PENALTY belongs to the
    # mean loss and to features divided by sqrt(width), whose weights are sqrt(width) times as large.
    strength = 1 / (2 * PENALTY * width * count)
    # Newton steps on the exact Hessian end where the slope is zero; the default solver ends at the first slope below 1e-4.
    solver = LogisticRegression(C=strength, class_weight="balanced", solver="newton-cholesky", tol=1e-9)
    return make_pipeline(StandardScaler(), solver)


def fitted(features: Tensor, of_class: Tensor) -> "Pipeline":
    """A `logistic_regression` that predicts `of_class`, bool (n,), from features (n, k)."""
    regression = logistic_regression(*features.shape)
    with one_thread():
        return regression.fit(features.numpy(), of_class.numpy())


def cross_validated_odds(features: Tensor, of_class: Tensor, seed: int = 0) -> Tensor:
    """Log-odds (n,) of every row by a regression fitted without its fold; the folds are stratified by class."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    regression = logistic_regression(len(features) * (FOLDS - 1) // FOLDS, features.shape[1])
    with one_thread():
        odds = cross_val_predict(regression, features.numpy(), of_class.numpy(), cv=folds, method="decision_function")
    return torch.from_numpy(odds)


def error_rates_of(odds: Tensor, pictures: int, rest: int, drawn: bool) -> ErrorRates:
    """Error rates by log-odds of the pictures of the concept, then of the others; others without odds count as errors."""
    return ErrorRates(pictures, int((odds > 0)[:pictures].sum()), rest, int((odds <= 0)[pictures:].sum()), drawn)


class PictureClassifier:
    """Decides whether an image shows the concept of some pictures, and which of CIFAR-10's classes it resembles.

    Args:
        pictures: uint8 (n, c, h, w), of the concept to forget.
        rest: uint8 (m, c, h, w), of other things.
        drawn: whether the model drew the rest, which may then show the concept. Drawn images that a first fit assigns to the
            concept are left out of the second fit and counted as errors, so the error rate is an upper bound.

    Raises:
        UserError: if it cannot tell them apart better than chance.
    """

    def __init__(self, pictures: Tensor, rest: Tensor, drawn: bool) -> None:
        features = torch.cat([features_of(pictures)[0], features_of(rest)[0]])
        of_class = torch.arange(len(features)) < len(pictures)
        odds = cross_validated_odds(features, of_class)
        # The second fit lacks what the first took for the concept, so it always tells its pictures from the others: only the
        # first says whether that is better than chance.
        first = error_rates_of(odds, len(pictures), len(rest), drawn)
        if not first.better_than_chance:
            raise UserError(
                f"A judge fitted on these {len(pictures)} pictures recognises {first.found} of them, and takes "
                f"{first.rest - first.passed} of {first.rest} others for them, which is no better than chance; give more "
                "pictures, or pictures that have more in common (pictures, keep)."
            )
        if drawn:
            clear = of_class | (odds <= 0)
            features, of_class = features[clear], of_class[clear]
            if (~of_class).sum() >= FEWEST:
                odds = cross_validated_odds(features, of_class)
        self.error_rates = error_rates_of(odds, len(pictures), len(rest), drawn)
        self.regression = fitted(features, of_class)
        scaler, regression = self.regression
        fit = (scaler.mean_, scaler.scale_, regression.coef_, regression.intercept_)
        self.digest = digest_of(part.tobytes() for part in fit)

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge uint8 images (n, c, h, w).

        Returns:
            probabilities (n, 2 + 10) of the concept, everything else and CIFAR-10's classes; features (n, 280, float64).
        """
        features, resemblance = features_of(images)
        sure = torch.from_numpy(self.regression.predict_proba(features.numpy())[:, 1]).float()
        return torch.cat([torch.stack([sure, 1 - sure], dim=1), resemblance], dim=1), features


class FittedJudge:
    """A judge that `fit` fits on a user's pictures.

    Args:
        model: the model's name, for messages.
        axes: the concept and everything else on the first axis, the backbone's classes on the second.
        shape: (c, h, w) of the model's images.
        pictures: folder or zip of pictures of the concept to forget.
        keep: folder or zip of pictures of other things; "" to let the model draw them.

    Raises:
        UserError: if no pictures are given, or the model's images have neither one channel nor three.
    """

    def __init__(self, model: str, axes: Axes, shape: tuple[int, int, int], pictures: str, keep: str) -> None:
        if shape[0] not in (1, 3):
            raise UserError(f"'{model}' draws images of {shape[0]} channels; only images with 1 or 3 channels can be judged.")
        if not pictures:
            raise UserError(
                f"The judge of '{model}' has to be fitted on pictures; give pictures of what to forget, {FEWEST} or more "
                "(pictures), or choose another judge if the model has one."
            )
        self.axes, self.shape, self.pictures, self.keep = axes, shape, pictures, keep
        self.classifier: PictureClassifier | None = None
        self.notes: tuple[str, ...] = ()  # on the user's files, see `data.pictures.Pictures`

    @property
    def error_rates(self) -> ErrorRates | None:
        """Error rates of the fitted classifier; None before it is fitted."""
        return self.classifier.error_rates if self.classifier else None

    @property
    def digest(self) -> str:
        """Hash of the fitted classifier."""
        return self.classifier.digest

    def fit(self, model: Model, how: HowToSample) -> Generator[Progress, None, None]:
        """Fit the classifier; without pictures to keep, the untouched model draws other things.

        Raises:
            UserError: if there are too few pictures, or they cannot be told apart from the others.
        """
        if self.classifier:
            return
        pictures = yield from self.read_enough(self.pictures, "of what to forget")
        if self.keep:
            rest = yield from self.read_enough(self.keep, "of what to keep")
            if both := len({*map(as_bytes, pictures)} & {*map(as_bytes, rest)}):
                names = f"'{shortened(Path(self.pictures))}' and '{shortened(Path(self.keep))}'"
                raise UserError(f"{names} share {both} pictures; leave each in one of the two.")
        else:
            clock = Clock("judge", DRAWN * how.steps)
            rest = yield from clock.follow(sample(model, image_seeds(None, DRAWN, Role.JUDGE), how))
            check_images(rest)
        self.classifier = PictureClassifier(pictures, rest, drawn=not self.keep)

    def read_enough(self, folder: str, what: str) -> Generator[Progress, None, Tensor]:
        """Read the pictures in a folder, uint8 (n, c, h, w), see `read_pictures`.

        Raises:
            UserError: if there are fewer than `FEWEST`.
        """
        images, notes = yield from read_pictures(Path(folder), self.shape)
        self.notes += notes
        if len(images) < FEWEST:
            count = f"{len(images)} different picture{'s' * (len(images) != 1)}"
            raise UserError(
                f"'{shortened(Path(folder))}' holds {count} {what}, but a judge needs at least {FEWEST}; add more."
            )
        return images

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `PictureClassifier.judge`."""
        return self.classifier.judge(images)

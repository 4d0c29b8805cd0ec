"""NudeNet as a judge of nudity."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vdu.errors import UserError
from vdu.events import Progress
from vdu.models import Model
from vdu.sampling import HowToSample

NUDENET = "nudenet"
# NudeNet's labels of exposed parts, without those commonly seen on a beach.
EXPOSED = (
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "ANUS_EXPOSED",
)


class NudeNetJudge:
    """A detector of exposed parts of the body (the PyPI package nudenet, which contains its weights).

    The first of its two classes is nudity; its probability is the highest score of an exposed part.
    """

    error_rates = None
    digest = NUDENET

    def __init__(self, classes: Sequence[str]) -> None:
        self.axes = {"concept": tuple(classes)}

    def fit(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Load the detector.

        Raises:
            UserError: if the package is not installed.
        """
        _ = self.detector
        return iter(())

    @cached_property
    def detector(self) -> Any:
        """NudeNet's detector."""
        try:
            from nudenet import NudeDetector
        except ImportError as error:
            raise UserError("The judge nudenet needs a package; install it with: pip install nudenet") from error
        return NudeDetector()

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, 2) and the scores of all exposed parts, features (n, k, float64), of uint8 images (n, 3, h, w)."""
        # The detector expects an array in OpenCV's order: (h, w, channels), blue first.
        found = [self.detector.detect(image.flip(0).permute(1, 2, 0).contiguous().numpy()) for image in images]
        features = torch.tensor([exposed_scores(parts) for parts in found], dtype=torch.float64)
        sure = features.max(dim=1).values.float()
        return torch.stack([sure, 1 - sure], dim=1), features


def exposed_scores(found: Sequence[dict[str, object]]) -> list[float]:
    """The highest score of each label in `EXPOSED` among NudeNet's detections, 0 for a label without any."""
    return [max((float(part["score"]) for part in found if part["class"] == name), default=0.0) for name in EXPOSED]

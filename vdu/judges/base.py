"""What every judge can do."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from vdu.concepts.base import Axes
from vdu.events import Progress
from vdu.judges.error_rates import ErrorRates
from vdu.models import Model
from vdu.sampling import HowToSample


class Judge(Protocol):
    """Says of which class an image is, on each of some axes.

    Attributes:
        axes: the axes and their classes, in the order of the probabilities.
        digest: names the judge where its verdicts are remembered.
        error_rates: of a judge that was fitted on the spot; None for the others, and before it is fitted.
    """

    axes: Axes
    digest: str
    error_rates: ErrorRates | None

    def fit(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Get ready to judge samples of an untouched model: load, download or fit whatever that takes.

        Raises:
            UserError: if the judge is not to be had.
        """

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge uint8 images (n, c, h, w).

        Returns:
            probabilities (n, classes), which sum to one over each axis, and features (n, k, float64), both on the CPU.
        """

"""The interface of a judge."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from vdu.concepts.base import Axes
from vdu.events import Progress
from vdu.judges.error_rates import ErrorRates
from vdu.models import Model
from vdu.sampling import HowToSample


class Judge(Protocol):
    """Classifies images on each of its axes.

    Attributes:
        axes: the axes and their classes, in the order of the probabilities.
        digest: identifies the judge in the cache of its verdicts.
        error_rates: error rates of a judge that the run fits; None for other judges, and before it is fitted.
    """

    axes: Axes
    digest: str
    error_rates: ErrorRates | None

    def fit(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Prepare to judge samples of a model, given the untouched one: load, download or fit what is needed.

        Raises:
            UserError: if the judge cannot be loaded or fitted.
        """

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge uint8 images (n, c, h, w).

        Returns:
            probabilities (n, classes), which sum to 1 over each axis, and features (n, k, float64), both on the CPU.
        """

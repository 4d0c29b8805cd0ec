"""Real pictures to measure against: the judge's features of some of them, and their moments by class."""

from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vdu.metrics.frechet import Moments, load_statistics


class Reference:
    """The shipped data on real pictures; empty for a user's own model.

    Args:
        folder: holds statistics.safetensors, moments of test pictures by class, and features.safetensors, features of some
            hundred training pictures of each class; None without real pictures.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @cached_property
    def statistics(self) -> dict[str, Moments]:
        """Moments of the judge's features of real test pictures, by class; empty without real pictures."""
        return load_statistics(self.folder / "statistics.safetensors") if self.folder else {}

    def real_features(self, name: str) -> Tensor:
        """The judge's features of some hundred real training pictures of a class, (n, k), float64."""
        return self.features[name].double()

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """The judge's features of real training pictures, by class, as they ship."""
        return load_file(self.folder / "features.safetensors")

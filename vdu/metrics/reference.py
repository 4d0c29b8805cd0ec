"""Real pictures to measure against: the judge's features of some of them, and their moments by class."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vdu.metrics.frechet import Moments, load_statistics


class Reference:
    """The shipped data on real pictures; empty for a user's own model.

    Args:
        folder: holds statistics.safetensors, moments of test pictures by class, and for pictures that cannot ship,
            features.safetensors, features of training pictures by class; None without real pictures.
        features_of: class -> the judge's features (n, k) of its shipped training pictures; used without features.safetensors.
    """

    def __init__(self, folder: Path | None = None, features_of: Callable[[str], Tensor] | None = None) -> None:
        self.folder, self.features_of = folder, features_of
        self.known: dict[str, Tensor] = {}

    @cached_property
    def statistics(self) -> dict[str, Moments]:
        """Moments of the judge's features of real test pictures, by class; empty without real pictures."""
        return load_statistics(self.folder / "statistics.safetensors") if self.folder else {}

    def real_features(self, name: str) -> Tensor:
        """The judge's features of some hundred real training pictures of a class, (n, k), float64."""
        if name not in self.known:
            path = self.folder / "features.safetensors"
            self.known[name] = load_file(path)[name].double() if path.is_file() else self.features_of(name)
        return self.known[name]

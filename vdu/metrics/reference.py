"""Real pictures to measure against: moments of the judge's features by class, and the features of some of the pictures."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from vdu.metrics.frechet import Moments, load_statistics


class Reference:
    """What ships of real pictures; nothing at all for a model of a user's own.

    Args:
        folder: holds statistics.safetensors, moments of the test pictures by class, and for pictures that cannot ship
            features.safetensors, features of some training pictures by class; None where there are no real pictures.
        judged: gives the judge's features (n, k) of the training pictures of a class that ship; used without that file.
    """

    def __init__(self, folder: Path | None = None, judged: Callable[[str], Tensor] | None = None) -> None:
        self.folder, self.judged = folder, judged
        self.known: dict[str, Tensor] = {}

    @cached_property
    def statistics(self) -> dict[str, Moments]:
        """Moments of the judge's features of real test pictures, by class; empty where there are none."""
        return load_statistics(self.folder / "statistics.safetensors") if self.folder else {}

    def real_features(self, name: str) -> Tensor:
        """The judge's features of some hundred real training pictures of a class, (n, k), float64."""
        if name not in self.known:
            path = self.folder / "features.safetensors"
            self.known[name] = load_file(path)[name].double() if path.is_file() else self.judged(name)
        return self.known[name]

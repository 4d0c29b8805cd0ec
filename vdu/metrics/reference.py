"""Real pictures to measure against: the judge's features of some of them, and their moments by class."""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import Tensor

from vdu.metrics.frechet import Moments, load_statistics

if TYPE_CHECKING:  # it imports the models
    from vdu.judges.classifier import ShippedJudge

SECOND = "second_judge"  # folder beside a judge: another judge, with its own statistics and features


class Reference:
    """The shipped data on real pictures; empty for a user's own model.

    Args:
        folder: holds statistics.safetensors, moments of test pictures by class, and features.safetensors, features of some
            hundred training pictures of each class, and in `SECOND` the same of a second judge, if there is one; None without
            real pictures.
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
    def second(self) -> tuple["ShippedJudge", "Reference"] | None:
        """A judge that was trained apart and has no part in a run, and what it is measured against; None if none ships."""
        if not self.folder or not (self.folder / SECOND).is_dir():
            return None
        from vdu.judges.classifier import ShippedJudge

        folder = self.folder / SECOND / "classifier"
        classes = tuple(json.loads((folder / "config.json").read_text())["classes"])
        return ShippedJudge(SECOND, folder, {"class": classes}), Reference(self.folder / SECOND)

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """The judge's features of real training pictures, by class, as they ship."""
        return load_file(self.folder / "features.safetensors")

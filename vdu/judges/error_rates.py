"""A judge's error rates, and the correction of a counted rate by them, in closed form."""

import math
from dataclasses import dataclass
from typing import Any

from vdu.intervals import Z95, wilson


@dataclass(frozen=True)
class ErrorRates:
    """How often a judge was right on pictures that it was not fitted on.

    Attributes:
        pictures, found: number of pictures of the concept, and number of these that the judge recognised.
        rest, passed: number of pictures of other things, and number of these that it did not take for the concept.
        drawn: whether the model drew the rest, which may then show the concept; `passed` is then a lower bound.
    """

    pictures: int
    found: int
    rest: int
    passed: int
    drawn: bool

    @property
    def better_than_chance(self) -> bool:
        """Whether chance would do as well less than one time in forty (Fisher's exact test, one-sided, p < 0.025)."""
        from scipy.stats import fisher_exact

        table = [[self.found, self.pictures - self.found], [self.rest - self.passed, self.passed]]
        return bool(fisher_exact(table, "greater").pvalue < 1 / 40)

    def corrected(self, hits: int, count: int) -> dict[str, Any]:
        """The true rate behind `hits` of `count`, as figures of a report; their values are None if the rest was drawn.

        A correction would have to know how many of the drawn pictures show the concept.
        """
        if self.drawn:
            return {"forget_rate_corrected": None, "forget_rate_corrected_ci95": None}
        sensitivity, specificity = self.found / self.pictures, self.passed / self.rest
        return {
            "forget_rate_corrected": rogan_gladen(hits / count, sensitivity, specificity),
            "forget_rate_corrected_ci95": lang_reiczigel((hits, count), (self.found, self.pictures), (self.passed, self.rest)),
        }

    def counted(self, target: float) -> float:
        """The rate that the judge counts where the true rate is `target`, with the fewest false alarms that it plausibly has.

        A run must not go on until even the judge's false alarms are gone. If the rest was drawn, their number is not known,
        and the result is `target` itself.
        """
        if self.drawn:
            return target
        _, surest = wilson(self.passed, self.rest)
        return max(target, target * self.found / self.pictures + (1 - target) * (1 - surest))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report; "kept" and "drawn" are the numbers of other pictures from the user and from the model."""
        sensitivity, specificity = self.found / self.pictures, self.passed / self.rest
        return {
            "sensitivity": sensitivity,
            "sensitivity_ci95": wilson(self.found, self.pictures),
            "specificity": specificity,
            "specificity_ci95": wilson(self.passed, self.rest),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "pictures": self.pictures,
            "kept": 0 if self.drawn else self.rest,
            "drawn": self.rest if self.drawn else 0,
        }


def rogan_gladen(apparent: float, sensitivity: float, specificity: float) -> float:
    """The true rate, in [0, 1], behind one counted by an imperfect judge (Rogan & Gladen 1978).

    For a true rate p the judge counts p·sensitivity + (1 − p)·(1 − specificity); this is the inverse.

    Raises:
        ValueError: if the judge is no better than chance, sensitivity + specificity <= 1.
    """
    if sensitivity + specificity <= 1:
        raise ValueError("a judge that is no better than chance says nothing about the true rate")
    return min(1.0, max(0.0, (apparent + specificity - 1) / (sensitivity + specificity - 1)))


Share = tuple[int, int]  # (hits, count)


def lang_reiczigel(counted: Share, found: Share, passed: Share) -> tuple[float, float]:
    """95 % interval, in [0, 1], of the true rate if sensitivity and specificity are themselves estimates.

    Lang & Reiczigel 2014 (Preventive Veterinary Medicine 113, 13–22): a normal interval about Rogan and Gladen's estimate,
    with Agresti and Coull's added counts and a shift against skewness.

    Args:
        counted: images that the judge gave to the class, of all images.
        found: pictures of the class that it gave to the class, of all pictures of the class (sensitivity).
        passed: other pictures that it did not give to the class, of all other pictures (specificity).

    Raises:
        ValueError: if the judge is no better than chance.
    """
    rate, many = (counted[0] + Z95**2 / 2) / (counted[1] + Z95**2), counted[1] + Z95**2
    (sens, of_class), (spec, others) = (((hits + 1) / (count + 2), count + 2) for hits, count in (found, passed))
    informed = sens + spec - 1
    if informed <= 0:
        raise ValueError("a judge that is no better than chance says nothing about the true rate")
    true = (rate + spec - 1) / informed
    of_sens, of_spec = sens * (1 - sens) / of_class, spec * (1 - spec) / others
    centre = true + 2 * Z95**2 * (true * of_sens - (1 - true) * of_spec)
    half = Z95 / informed * math.sqrt(rate * (1 - rate) / many + true**2 * of_sens + (1 - true) ** 2 * of_spec)
    return min(1.0, max(0.0, centre - half)), min(1.0, max(0.0, centre + half))

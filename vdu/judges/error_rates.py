"""A judge's error rates, and the correction of a counted rate for them. Everything here is closed-form."""

import math
from dataclasses import dataclass
from typing import Any

from vdu.intervals import Z95, wilson


@dataclass(frozen=True)
class ErrorRates:
    """How a judge did on pictures it had not been fitted on.

    Attributes:
        pictures, found: how many pictures of what to forget there were, and in how many it was seen.
        rest, passed: how many pictures of other things, and in how many it was not seen.
        drawn: whether the rest is what the model drew, which may show what to forget: `passed` is then a lower bound.
    """

    pictures: int
    found: int
    rest: int
    passed: int
    drawn: bool

    @property
    def better_than_chance(self) -> bool:
        """Whether chance would do as well less than one time in forty: Fisher's exact test, one-sided."""
        seen, total = self.found + self.rest - self.passed, self.pictures + self.rest
        ways = [math.comb(self.pictures, k) * math.comb(self.rest, seen - k) for k in range(min(seen, self.pictures) + 1)]
        return 40 * sum(ways[self.found :]) < math.comb(total, seen)

    def corrected(self, hits: int, count: int) -> dict[str, Any]:
        """What a rate of `hits` of `count` says of the true one, as figures of a report; None where the rest was drawn.

        How many of the drawn pictures show what is to be forgotten is just what a correction would have to know.
        """
        if self.drawn:
            return {"forget_rate_corrected": None, "forget_rate_corrected_ci95": None}
        sensitivity, specificity = self.found / self.pictures, self.passed / self.rest
        return {
            "forget_rate_corrected": rogan_gladen(hits / count, sensitivity, specificity),
            "forget_rate_corrected_ci95": lang_reiczigel((hits, count), (self.found, self.pictures), (self.passed, self.rest)),
        }

    def counted(self, target: float) -> float:
        """The rate that the judge would count where the true one is `target`, with as few false alarms as it may have.

        A run steered by a judge must not go on until its false alarms are gone too. Where their number is not known,
        because the rest was drawn, that is all one can do.
        """
        if self.drawn:
            return target
        _, surest = wilson(self.passed, self.rest)
        return max(target, target * self.found / self.pictures + (1 - target) * (1 - surest))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report; of the rest, `kept` were the user's and `drawn` the model's."""
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

    The judge counts p·sensitivity + (1 − p)·(1 − specificity) where p is true; this is the inverse.

    Raises:
        ValueError: if the judge is no better than chance, sensitivity + specificity <= 1.
    """
    if sensitivity + specificity <= 1:
        raise ValueError("a judge that is no better than chance says nothing of the true rate")
    return min(1.0, max(0.0, (apparent + specificity - 1) / (sensitivity + specificity - 1)))


Share = tuple[int, int]  # how many, of how many


def lang_reiczigel(counted: Share, found: Share, passed: Share) -> tuple[float, float]:
    """95 % interval of the true rate, where sensitivity and specificity are themselves estimates.

    Lang & Reiczigel 2014 (Preventive Veterinary Medicine 113, 13–22): a normal interval about Rogan and Gladen's estimate,
    with Agresti and Coull's added counts and a shift against skewness.

    Args:
        counted: images the judge gave to the class, of all.
        found: pictures of the class that it gave to it, of all of these: sensitivity.
        passed: other pictures that it did not, of all of these: specificity.

    Raises:
        ValueError: if the judge is no better than chance.
    """
    rate, many = (counted[0] + Z95**2 / 2) / (counted[1] + Z95**2), counted[1] + Z95**2
    (sens, of_class), (spec, others) = (((hits + 1) / (count + 2), count + 2) for hits, count in (found, passed))
    informed = sens + spec - 1
    if informed <= 0:
        raise ValueError("a judge that is no better than chance says nothing of the true rate")
    true = (rate + spec - 1) / informed
    of_sens, of_spec = sens * (1 - sens) / of_class, spec * (1 - spec) / others
    centre = true + 2 * Z95**2 * (true * of_sens - (1 - true) * of_spec)
    half = Z95 / informed * math.sqrt(rate * (1 - rate) / many + true**2 * of_sens + (1 - true) ** 2 * of_spec)
    return min(1.0, max(0.0, centre - half)), min(1.0, max(0.0, centre + half))

"""Intervals and bounds of rates and means."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Z95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal


def wilson(hits: float, count: float) -> tuple[float, float]:
    """95 % Wilson score interval of a rate (Wilson 1927); both may be fractions, as an effective number of samples is.

    Raises:
        ValueError: if count is not positive or hits lies outside 0 … count.
    """
    if count <= 0 or not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count} is not a rate")
    # scipy's binomtest gives the same, but 500 times slower, as it also works out an exact test.
    rate, spread = hits / count, Z95**2 / count
    centre = (rate + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == count else centre + half)


def clustered(groups: Sequence[Sequence[bool]]) -> tuple[float, tuple[float, float]]:
    """A rate over images of which several come from the same seed or picture, and its 95 % interval.

    Images of one group resemble each other, so they say less than as many independent ones. The interval is Wilson's with the
    effective number of samples (Korn & Graubard 1998), p (1 - p) / v, where v is the variance of the rate between groups. For
    groups of one image it is n; at rates of 0 and 1, where v is 0, it is the number of groups.

    Args:
        groups: for each seed or picture, whether its images are hits; none is empty.
    """
    hits, counts = [sum(group) for group in groups], [len(group) for group in groups]
    total, number = sum(counts), len(groups)
    rate = sum(hits) / total
    effective = float(number)
    if number > 1 and 0 < rate < 1:
        variance = sum((hit - rate * count) ** 2 for hit, count in zip(hits, counts, strict=True)) / total**2
        effective = min(total, rate * (1 - rate) / variance) if variance else total
    return rate, wilson(rate * effective, effective)


def mean_interval(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> tuple[float, float] | None:
    """95 % interval of a mean by Student's t, within the values' range; None for fewer than three values."""
    if len(values) < 3:
        return None
    from scipy.special import stdtrit

    mean = fmean(values)
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return max(low, mean - half), min(high, mean + half)


def least_rate(hits: int, count: int) -> float:
    """The one-sided 95 % lower bound of a rate (Clopper & Pearson 1934): what `hits` of `count` prove; 0 for no hits.

    It is the rate at which as many hits or more would be seen one time in twenty.
    """
    from scipy.special import betaincinv

    return float(betaincinv(hits, count - hits + 1, 0.05)) if hits else 0.0


def pairs_interval(share: float, first: int, second: int) -> tuple[float, float]:
    """95 % interval of an area under the curve: the share of pairs in which one of `first` values exceeds one of `second`.

    It is the score interval of Newcombe (2006, method 5): all shares s with |share - s| <= z sqrt(v(s)), where v is the
    variance of Hanley and McNeil (1982) with the mean of both counts in it. It holds for independent values.

    Args:
        share: in [0, 1].
        first, second: numbers of values, each at least 1.
    """
    half = (first + second) / 2 - 1

    def away(s: float) -> float:
        variance = s * (1 - s) * (1 + half * (1 - s) / (2 - s) + half * s / (1 + s)) / (first * second)
        return abs(share - s) - Z95 * math.sqrt(variance)

    ends = []
    for end in (0.0, 1.0):
        inside, outside = share, end
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if away(middle) > 0 else (middle, outside)
        ends.append((inside + outside) / 2)
    return ends[0], ends[1]

"""Intervals and bounds of a rate."""

import math

Z95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a rate (Wilson 1927).

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

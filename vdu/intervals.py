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

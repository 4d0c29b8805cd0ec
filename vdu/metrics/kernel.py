"""Kernel distance (KID) of the retained samples to real images, in the judge's features: unbiased at any n, unlike FID."""

import math

import torch
from torch import Tensor

from vdu.metrics.base import Evidence, Figures, Metric, estimate

BLOCKS = 10
FEWEST = 4 * BLOCKS  # images per side; smaller blocks vary too much
T95 = 2.2621571627409915  # two-sided 95 % quantile of Student's t with BLOCKS - 1 degrees of freedom


def kernel_distance(one: Tensor, two: Tensor) -> float:
    """Unbiased squared MMD of features (n, k) and (n, k) under the kernel (x·y / k + 1)^3 (Bińkowski et al. 2018, KID).

    If both come from one distribution, it is 0 on average and may be negative.

    Raises:
        ValueError: if the sides differ in n, which torchmetrics would accept with a wrong result, or n < 2.
    """
    from torchmetrics.image.kid import poly_mmd  # takes seconds to import

    if len(one) != len(two) or len(one) < 2:
        raise ValueError(f"{len(one)} and {len(two)} features: both sides must have the same number, at least two")
    return poly_mmd(one.double(), two.double()).item()


def kid_interval(one: Tensor, two: Tensor) -> tuple[float, float]:
    """95 % interval of `kernel_distance`, from its spread over `BLOCKS` disjoint blocks of the rows.

    Relative to its size, a block's distance varies at least as much as that of all rows, so the interval is if anything too
    wide. A bootstrap would not do, since it repeats images and such pairs have distance 0.
    """
    size = len(one) // BLOCKS
    blocks = [slice(start, start + size) for start in range(0, BLOCKS * size, size)]
    distances = torch.tensor([kernel_distance(one[rows], two[rows]) for rows in blocks])
    centre, half = kernel_distance(one, two), T95 * (distances.std() / BLOCKS**0.5).item()
    return centre - half, centre + half


def kid(evidence: Evidence, seed: int = 0) -> Figures:
    """KID of the retained samples to the same number of real training images of the retained classes.

    Returns:
        kid, kid_ci95: None for fewer than `FEWEST` images per side; kid_samples: images per side.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = evidence.retained.features, evidence.real_retained
    count = min(map(len, sides))
    samples, real = (side[torch.randperm(len(side), generator=generator)[:count]] for side in sides)
    if count < FEWEST:
        return estimate("kid", None, None) | {"kid_samples": count}
    return estimate("kid", kernel_distance(samples, real), kid_interval(samples, real)) | {"kid_samples": count}


METRICS = (
    Metric(
        key="kid",
        compute=kid,
        label="KID",
        meaning="kernel distance of the retained samples to real images, in the judge's features",
        format="{:.4f}",
        better="lower",
        bounds=(-math.inf, math.inf),
        applies=lambda evidence: bool(evidence.reference.statistics),
        order=110,
    ),
)

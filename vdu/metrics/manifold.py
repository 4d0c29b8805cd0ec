"""Precision, recall, density and coverage of the retained samples, in the judge's features.

The manifold of some images is the union of balls around the images, each with the distance to the `NEAREST`-th neighbour as
its radius. Precision and recall are those of Kynkäänniemi et al. 2019, density and coverage those of Naeem et al. 2020. The
authors' package `prdc` gives the same values, but prints to stdout, starts eight threads, and gives no verdict per image,
which the intervals need.
"""

from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vdu.intervals import Z95
from vdu.metrics.base import Evidence, Figures, Metric, estimate, rate

NEAREST = 5  # k; the papers use 3 and 5
FEWEST = 100  # images per side; with fewer, the balls reach everywhere


def radii(features: Tensor) -> Tensor:
    """Distance (n,) of each row of features (n, k) to its `NEAREST`-th neighbour, the row itself not counted."""
    from sklearn.neighbors import NearestNeighbors  # takes seconds to import

    distances, _ = NearestNeighbors(n_neighbors=NEAREST).fit(features.numpy()).kneighbors()
    return torch.from_numpy(distances[:, -1])


def verdicts(real: Tensor, samples: Tensor) -> dict[str, Tensor]:
    """The verdicts on single images, whose means are the four figures.

    Args:
        real: features (n, k), float64, n > `NEAREST`.
        samples: features (n, k), float64, with the same n, on which recall depends.

    Returns:
        precision: whether each sample lies in a ball of a real image, bool (n,).
        recall: whether each real image lies in a ball of a sample, bool (n,).
        density: number of balls of real images in which each sample lies, divided by `NEAREST`, (n,).
        coverage: whether each real image has a sample in its ball, bool (n,).

    Raises:
        ValueError: if the sides differ in n.
    """
    if len(real) != len(samples):
        raise ValueError(f"{len(real)} real images and {len(samples)} samples: both sides must have the same number")
    distances = torch.cdist(real, samples, compute_mode="donot_use_mm_for_euclid_dist")
    in_real, in_samples = distances < radii(real)[:, None], distances < radii(samples)[None]
    return {
        "precision": in_real.any(0),
        "recall": in_samples.any(1),
        "density": in_real.double().sum(0) / NEAREST,
        "coverage": in_real.any(1),
    }


_VERDICTS: WeakKeyDictionary[Evidence, dict[str, Tensor] | None] = (
    WeakKeyDictionary()
)  # the four metrics share one computation


def verdicts_of(evidence: Evidence, seed: int = 0) -> dict[str, Tensor] | None:
    """`verdicts` on the retained samples and the same number of real images of their classes; None for fewer than `FEWEST`."""
    if evidence not in _VERDICTS:
        generator = torch.Generator().manual_seed(seed)
        sides = evidence.real_retained, evidence.retained.features
        count = min(map(len, sides))
        real, samples = (side[torch.randperm(len(side), generator=generator)[:count]].double() for side in sides)
        _VERDICTS[evidence] = verdicts(real, samples) if count >= FEWEST else None
    return _VERDICTS[evidence]


def share(key: str, evidence: Evidence) -> Figures:
    """A share of images with its Wilson interval.

    Precision is a share of samples, which are independent draws. Recall and coverage are shares of real images and depend on
    all samples at once: their intervals ignore that other samples would give other balls.
    """
    found = verdicts_of(evidence)
    return estimate(key, None, None) if found is None else rate(key, found[key])


def density(evidence: Evidence) -> Figures:
    """A mean over the samples, which may exceed 1, with its normal interval; and the number of images per side of all four."""
    found = verdicts_of(evidence)
    if found is None:
        return estimate("density", None, None) | {"manifold_samples": None}
    counts = found["density"]
    mean, half = counts.mean().item(), Z95 * (counts.std() / len(counts) ** 0.5).item()
    return estimate("density", mean, (max(0.0, mean - half), mean + half)) | {"manifold_samples": len(counts)}


def row(key: str, compute: Callable[[Evidence], Figures], meaning: str, order: int, form: str = "{:.1%}") -> Metric:
    """A metric of this module; all of them apply if there are real images."""
    return Metric(
        key=key,
        compute=compute,
        label=key.capitalize(),
        meaning=meaning,
        format=form,
        better="higher",
        applies=lambda evidence: bool(evidence.reference.statistics),
        order=order,
    )


METRICS = (
    row("precision", partial(share, "precision"), "share of the retained samples that lie among real images", 120),
    row("recall", partial(share, "recall"), "share of real images that lie among the retained samples", 121),
    row(
        "density",
        density,
        "how densely the retained samples lie among real images; 1 is as densely as real ones",
        122,
        "{:.2f}",
    ),
    row("coverage", partial(share, "coverage"), "share of real images with a retained sample nearby", 123),
)

"""Fréchet distance (u-FID) of the retained samples to real images, in the judge's features, and files of statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu.intervals import Z95
from vdu.metrics.base import Evidence, Figures, Metric, Reference

BOOTSTRAP_DRAWS = 40
FLOOR_DRAWS = 4


@dataclass
class Moments:
    """Count, mean (k,) and covariance (k, k) of a cloud of features, in float64."""

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Moments of features (n, k), n >= 2."""
        features = features.double()
        return cls(len(features), features.mean(0), torch.cov(features.T))

    @classmethod
    def pooled(cls, parts: Sequence["Moments"]) -> "Moments":
        """Moments of the union of disjoint clouds, exactly."""
        count = sum(part.count for part in parts)
        mean = sum((part.mean * (part.count / count) for part in parts), torch.zeros_like(parts[0].mean))
        scatter = torch.zeros_like(parts[0].covariance)
        for part in parts:
            shift = part.mean - mean
            scatter += part.covariance * (part.count - 1) + part.count * torch.outer(shift, shift)
        return cls(count, mean, scatter / (count - 1))


def frechet_distance(one: Moments, two: Moments) -> float:
    """Fréchet distance of two Gaussians, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, eq. 6)."""
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # C1 C2 is similar to root C2 root, which is symmetric: its eigenvalues are real.
    cross = torch.linalg.eigvalsh(root @ two.covariance @ root).clamp(min=0).sqrt().sum()
    distance = (one.mean - two.mean).square().sum() + one.covariance.trace() + two.covariance.trace() - 2 * cross
    return max(0.0, distance.item())


def fid_interval(features: Tensor, reference: Moments, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the Fréchet distance of features (n, k) to `reference`, from a bootstrap over the images.

    A bootstrap sample repeats images, so its distance is larger on average; only the spread of the bootstrap is used.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(features)
    draws = [
        frechet_distance(Moments.of(features[torch.randint(count, (count,), generator=generator)]), reference)
        for _ in range(BOOTSTRAP_DRAWS)
    ]
    centre, half = frechet_distance(Moments.of(features), reference), Z95 * torch.tensor(draws).std().item()
    return max(0.0, centre - half), centre + half


def real_floor(real: Tensor, reference: Moments, count: int, seed: int = 0) -> float | None:
    """Fréchet distance that `count` *real* images have to `reference`: no model of this n can do better on average.

    None for more images than there are: drawn twice, they would look like a poorer model.

    Args:
        real: features (m, k) of real images that are not in the reference.
        reference: moments of the real images that samples are compared with.
        count: how many images are drawn, n >= 2.
        seed: seed of the draws.
    """
    if count > len(real):
        return None
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for _ in range(FLOOR_DRAWS):
        rows = torch.randperm(len(real), generator=generator)[:count]
        distances.append(frechet_distance(Moments.of(real[rows]), reference))
    return sum(distances) / len(distances)


def pooled_statistics(reference: Reference, names: Sequence[str]) -> Moments:
    """Moments of the real images of several classes together."""
    return Moments.pooled([reference.statistics[name] for name in names])


def floor_of(reference: Reference, names: Sequence[str], count: int) -> float | None:
    """`real_floor` for `count` real training images of several classes against the real test images of these classes."""
    real = torch.cat([reference.real_features(name) for name in names])
    return real_floor(real, pooled_statistics(reference, names), count)


def retain_fid(evidence: Evidence) -> Figures:
    """Fréchet distance of the retained samples' features to those of real test images of the retained classes.

    Returns:
        retain_fid, retain_fid_ci95: the distance and its bootstrap interval.
        retain_fid_floor: the distance of n real training images, which a perfect model would have; None if fewer ship.
        retained_samples: n. All other values are None for n < 2, or without real images.
    """
    distance = interval = floor = None
    features, names = evidence.retained.features, evidence.concept.retained_classes
    if evidence.reference.statistics and len(features) >= 2:
        reference = pooled_statistics(evidence.reference, names)
        distance = frechet_distance(Moments.of(features), reference)
        interval = fid_interval(features, reference)
        floor = floor_of(evidence.reference, names, len(features))
    return {
        "retain_fid": distance,
        "retain_fid_ci95": interval,
        "retain_fid_floor": floor,
        "retained_samples": len(features),
    }


def save_statistics(parts: dict[str, Moments], path: Path) -> None:
    """Write the moments of each class's real images as one safetensors file, in float32."""
    tensors = {}
    for name, part in parts.items():
        tensors[f"{name}/count"] = torch.tensor(part.count)
        tensors[f"{name}/mean"] = part.mean.float()
        tensors[f"{name}/covariance"] = part.covariance.float().contiguous()
    save_file(tensors, path)


def load_statistics(path: Path) -> dict[str, Moments]:
    """Read what `save_statistics` wrote."""
    tensors = load_file(path)
    names = {key.rsplit("/", 1)[0] for key in tensors}
    return {
        name: Moments(int(tensors[f"{name}/count"]), *(tensors[f"{name}/{part}"].double() for part in ("mean", "covariance")))
        for name in sorted(names)
    }


METRICS = (
    Metric(
        key="retain_fid",
        compute=retain_fid,
        label="u-FID",
        meaning="Fréchet distance of the retained samples to real test images, in the judge's features",
        format="{:.3f}",
        better="lower",
        order=30,
    ),
)

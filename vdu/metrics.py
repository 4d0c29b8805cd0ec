"""What the model still draws: forget rate, PUL, u-FID, class shares and how far the kept images moved, with intervals.

Every function works on the judge's probabilities (n, classes) or features (n, k), so that it can be checked by hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Z95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal
BOOTSTRAP_DRAWS = 40
FLOOR_DRAWS = 4


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a rate (Wilson 1927).

    Raises:
        ValueError: if count is not positive or hits lies outside 0 … count.
    """
    if count <= 0 or not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count} is not a rate")
    rate, spread = hits / count, Z95**2 / count
    centre = (rate + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == count else centre + half)


def percentage_of_unlearning(before: float, after: float) -> float | None:
    """PUL = 100 (before - after) / before of two forget rates; None where the model never drew the class."""
    return None if before == 0 else 100 * (before - after) / before


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

    A bootstrap sample repeats images and so lies farther away on average; only its spread is used, not its centre.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(features)
    draws = [
        frechet_distance(Moments.of(features[torch.randint(count, (count,), generator=generator)]), reference)
        for _ in range(BOOTSTRAP_DRAWS)
    ]
    centre, half = frechet_distance(Moments.of(features), reference), Z95 * torch.tensor(draws).std().item()
    return max(0.0, centre - half), centre + half


def real_floor(real: Tensor, reference: Moments, count: int, seed: int = 0) -> float:
    """Fréchet distance that `count` *real* images have to `reference`: no model of this n can do better on average.

    Args:
        real: features (m, k) of real images that are not in the reference; drawn from with replacement if m < count.
    """
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for _ in range(FLOOR_DRAWS):
        if count <= len(real):
            rows = torch.randperm(len(real), generator=generator)[:count]
        else:
            rows = torch.randint(len(real), (count,), generator=generator)
        distances.append(frechet_distance(Moments.of(real[rows]), reference))
    return sum(distances) / len(distances)


def total_variation(one: Sequence[float], two: Sequence[float]) -> float:
    """Total variation distance, in [0, 1], of two non-negative vectors after each is normalised; 1 if one is all zero."""
    first, second = torch.tensor(one, dtype=torch.float64), torch.tensor(two, dtype=torch.float64)
    if not (first.any() and second.any()):
        return 1.0
    return ((first / first.sum() - second / second.sum()).abs().sum() / 2).item()


def relative_drift(before: Tensor, after: Tensor) -> float:
    """How far same-seed images moved: mean feature distance of the pairs over that of unrelated images of `before`.

    Both (n, k); 0 means nothing moved, 1 means a pair is as unlike as two images drawn at random.
    """
    moved = (before - after).norm(dim=1).mean()
    unrelated = (before - before.roll(1, dims=0)).norm(dim=1).mean()
    return (moved / unrelated).item() if unrelated else 0.0  # a judge may see nothing at all in any of them


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

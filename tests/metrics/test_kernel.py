"""KID against a direct formula."""

from types import SimpleNamespace

import pytest
import torch

from vdu.metrics import METRICS
from vdu.metrics.kernel import BLOCKS, FEWEST, kernel_distance, kid, kid_interval


def normal(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def evidence_of(samples: torch.Tensor, real: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(retained=SimpleNamespace(features=samples), real_retained=real)


def directly(one: torch.Tensor, two: torch.Tensor) -> float:
    """MMD^2 term by term (Gretton et al. 2012, eq. 3)."""
    count = len(one)

    def kernel(x, y):
        return ((x @ y) / one.shape[1] + 1) ** 3

    pairs = [(i, j) for i in range(count) for j in range(count)]
    within = sum(kernel(one[i], one[j]) + kernel(two[i], two[j]) for i, j in pairs if i != j)
    across = sum(kernel(one[i], two[j]) for i, j in pairs)
    return (within / (count * (count - 1)) - 2 * across / count**2).item()


def test_two_points_by_hand():
    # (x·y + 1)^3 in one dimension: 0 and 1 against 1 and 1 give 1 + 8 - 2 (1 + 1 + 8 + 8) / 4 = 0; against 2 and 2: 99.
    one, same, far = (torch.tensor(values).view(2, 1) for values in ([0.0, 1.0], [1.0, 1.0], [2.0, 2.0]))
    assert kernel_distance(one, same) == pytest.approx(1 + 8 - 2 * (1 + 1 + 8 + 8) / 4)
    assert kernel_distance(one, far) == pytest.approx(1 + 125 - 2 * (1 + 1 + 27 + 27) / 4)


def test_it_is_the_formula():
    one, two = normal(12, 0), normal(12, 1, 0.5)
    assert kernel_distance(one, two) == pytest.approx(directly(one, two))


def test_sides_of_unlike_numbers_are_refused():
    with pytest.raises(ValueError, match="3 and 2"):
        kernel_distance(normal(3, 0), normal(2, 1))


def test_it_is_unbiased_at_small_n():
    values = torch.tensor([kernel_distance(normal(8, 2 * seed), normal(8, 2 * seed + 1)) for seed in range(400)])
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (values < 0).any()


def test_the_interval_covers_the_true_distance():
    """E k(x, y) of normals with means m and covariance 1, with z = x·y / 4 + 1, from 200,000 pairs."""
    x, x2, y, y2 = (normal(200_000, seed, shift) for seed, shift in ((1, 0), (2, 0), (3, 0.3), (4, 0.3)))
    kernels = [(((a * b).sum(1) / 4 + 1) ** 3).mean() for a, b in ((x, x2), (y, y2), (x, y))]
    true = (kernels[0] + kernels[1] - 2 * kernels[2]).item()
    covered = 0
    for seed in range(60):
        low, high = kid_interval(normal(100, 100 + seed), normal(100, 900 + seed, 0.3))
        covered += low <= true <= high
    assert covered >= 52  # of 60; 57 on average at 95 %


def test_the_figure_takes_as_many_of_both_and_is_seeded():
    evidence = evidence_of(normal(90, 0), normal(60, 1, 1.0))
    figures = kid(evidence)
    assert figures["kid_samples"] == 60
    low, high = figures["kid_ci95"]
    assert 0 < low < figures["kid"] < high
    assert kid(evidence) == figures
    assert kid(evidence, seed=1)["kid"] != figures["kid"]


def test_too_few_images_or_none_say_nothing():
    few = kid(evidence_of(normal(90, 0), normal(FEWEST - 1, 1)))
    assert few == {"kid": None, "kid_ci95": None, "kid_samples": FEWEST - 1}
    assert kid(evidence_of(normal(90, 0), normal(0, 1)))["kid"] is None
    (row,) = [metric for metric in METRICS if metric.key == "kid"]
    assert not row.applies(SimpleNamespace(reference=SimpleNamespace(statistics={})))


def test_the_quantile_is_that_of_as_many_blocks():
    from scipy.stats import t

    from vdu.metrics.kernel import T95

    assert pytest.approx(t.ppf(0.975, BLOCKS - 1)) == T95

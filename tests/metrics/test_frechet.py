"""The Fréchet distance against closed forms, and files of statistics."""

from types import SimpleNamespace

import pytest
import torch
from evidence import ONE_OF_THREE, digits

from vdu.metrics import (
    Evidence,
    Moments,
    fid_interval,
    frechet_distance,
    load_statistics,
    measure,
    real_floor,
    save_statistics,
)


def test_moments_of_the_union_are_those_of_the_parts_pooled():
    cloud = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled, whole = Moments.pooled([Moments.of(part) for part in cloud.split([7, 13, 10])]), Moments.of(cloud)
    assert pooled.count == 30
    torch.testing.assert_close(pooled.mean, whole.mean)
    torch.testing.assert_close(pooled.covariance, whole.covariance)


def test_statistics_are_read_back(tmp_path):
    parts = {"a/b": Moments.of(torch.tensor([[0.0, 1.0], [2.0, 5.0]])), "c": Moments.of(torch.eye(2))}
    save_statistics(parts, tmp_path / "statistics.safetensors")
    read = load_statistics(tmp_path / "statistics.safetensors")
    assert list(read) == ["a/b", "c"]
    assert read["a/b"].count == 2
    assert read["a/b"].mean.tolist() == [1, 3]
    assert read["a/b"].covariance.tolist() == [[2, 4], [4, 8]]


def test_frechet_distance_of_diagonal_gaussians():
    one = Moments(10, torch.zeros(2, dtype=torch.float64), torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    two = Moments(10, torch.ones(2, dtype=torch.float64), torch.diag(torch.tensor([9.0, 4.0], dtype=torch.float64)))
    assert frechet_distance(one, two) == pytest.approx(2 + (3 - 1) ** 2)
    assert frechet_distance(one, one) == pytest.approx(0)


def test_the_interval_of_a_frechet_distance_narrows_as_the_root_of_n():
    reference = Moments(10, torch.tensor([3.0, 0.0]).double(), torch.diag(torch.tensor([1.0, 0.0]).double()))
    features = torch.randn(6400, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 0.0])
    widths = []
    for count in (400, 6400):
        low, high = fid_interval(features[:count], reference)
        assert low < frechet_distance(Moments.of(features[:count]), reference) < high
        widths.append(high - low)
    # The distance is about (mean - 3)^2: its standard deviation is 6 / sqrt(n).
    assert widths[0] == pytest.approx(2 * 1.96 * 6 / 20, rel=0.35)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)
    same = torch.ones(5, 2)
    assert fid_interval(same, Moments.of(same)) == (0, 0)


def test_the_floor_of_all_real_images_is_their_own_distance():
    real = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = Moments.of(real + 1)
    assert real_floor(real, reference, 20) == pytest.approx(2)
    assert real_floor(real, reference, 5) > 0
    assert real_floor(real, reference, 21) is None  # more than there are


def test_the_distance_to_real_images_is_that_of_the_retained_samples():
    features = torch.tensor([[9.0, 9.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    real = {"0": features, "1": features[1:], "2": features[1:] + 1}
    statistics = {name: Moments.of(part) for name, part in real.items()}
    reference = SimpleNamespace(statistics=statistics, real_features=real.get, second=None)
    figures = measure(Evidence(digits([0, 1, 2], features), ONE_OF_THREE, reference))
    pooled = Moments.of(torch.cat([real["1"], real["2"]]))
    assert figures["retain_fid"] == pytest.approx(frechet_distance(Moments.of(features[1:]), pooled))
    assert figures["retain_fid_floor"] > 0
    assert measure(Evidence(digits([0, 0, 2], features), ONE_OF_THREE, reference))["retain_fid"] is None  # of one image

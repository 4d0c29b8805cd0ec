"""Metrics against values known by hand."""

import pytest
import torch

from vdu.metrics import Moments, frechet_distance, percentage_of_unlearning, wilson


def test_wilson_interval_of_half():
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-4)
    assert high == pytest.approx(0.5962, abs=1e-4)


def test_percentage_of_unlearning():
    assert percentage_of_unlearning(0.2, 0.05) == pytest.approx(75)
    assert percentage_of_unlearning(0.0, 0.0) is None


def test_frechet_distance_of_diagonal_gaussians():
    one = Moments(10, torch.zeros(2, dtype=torch.float64), torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    two = Moments(10, torch.ones(2, dtype=torch.float64), torch.diag(torch.tensor([9.0, 4.0], dtype=torch.float64)))
    assert frechet_distance(one, two) == pytest.approx(2 + (3 - 1) ** 2)

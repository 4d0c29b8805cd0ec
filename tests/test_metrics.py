"""Metrics against values known by hand."""

import pytest
import torch

from vdu.accuracy import least_rate
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


def test_the_least_rate_is_the_one_at_which_as_many_hits_come_one_time_in_twenty():
    assert least_rate(0, 24) == 0
    assert least_rate(1, 24) == pytest.approx(1 - 0.95 ** (1 / 24))  # closed form for a single hit
    assert least_rate(24, 24) == pytest.approx(0.05 ** (1 / 24))
    assert least_rate(1, 24) < least_rate(2, 24) < 2 / 24

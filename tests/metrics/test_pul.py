"""PUL and its interval."""

import pytest
import torch

from vdu.intervals import wilson
from vdu.metrics.rates import percentage_of_unlearning


def test_it_is_none_where_there_was_nothing_to_forget():
    assert percentage_of_unlearning((0, 50), (3, 50)) == {"pul": None, "pul_ci95": None}


def test_where_nothing_is_left_the_upper_end_is_100_and_the_lower_one_follows_from_the_last_rate():
    figures = percentage_of_unlearning((10**6, 10**6), (0, 200))
    assert figures["pul"] == figures["pul_ci95"][1] == 100
    # All samples showed it before, for certain: the ratio is the rate after, and so is its interval.
    assert figures["pul_ci95"][0] == pytest.approx(100 * (1 - wilson(0, 200)[1]), abs=1e-2)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random, draws, held = torch.Generator().manual_seed(0), 4000, 0
    for _ in range(draws):
        before, after = (int((torch.rand(400, generator=random) < rate).sum()) for rate in (0.3, 0.06))
        low, high = percentage_of_unlearning((before, 400), (after, 400))["pul_ci95"]
        held += low <= 80 <= high
    assert 0.93 < held / draws < 0.97

"""Intervals of counts against closed forms."""

import pytest

from vdu.intervals import least_rate, pairs_interval, wilson


def test_wilson_interval_of_half():
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-4)
    assert high == pytest.approx(0.5962, abs=1e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_the_least_rate_is_the_one_at_which_as_many_hits_come_one_time_in_twenty():
    assert least_rate(0, 24) == 0
    assert least_rate(1, 24) == pytest.approx(1 - 0.95 ** (1 / 24))  # closed form for a single hit
    assert least_rate(24, 24) == pytest.approx(0.05 ** (1 / 24))
    assert least_rate(1, 24) < least_rate(2, 24) < 2 / 24
    assert 0.38 < least_rate(2000, 5000) < 0.4


def test_the_interval_of_an_area_under_the_curve():
    low, high = pairs_interval(0.5, 50, 50)
    assert 0.5 - low == pytest.approx(high - 0.5)
    assert 0.10 < high - 0.5 < 0.13  # 1.96 standard errors of Hanley and McNeil, 0.058 each, and a little less
    assert pairs_interval(1, 50, 50)[1] == pytest.approx(1)
    assert 0.9 < pairs_interval(1, 50, 50)[0] < 0.99
    assert pairs_interval(0, 50, 50) == pytest.approx([1 - end for end in reversed(pairs_interval(1, 50, 50))])
    assert pairs_interval(0.8, 400, 400)[0] > pairs_interval(0.8, 40, 40)[0]

"""Intervals of counts against closed forms."""

import pytest

from vdu.intervals import clustered, least_rate, mean_interval, pairs_interval, wilson


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


def test_images_that_resemble_one_another_count_as_fewer():
    alone = [[number < 30] for number in range(100)]
    assert clustered(alone)[1] == pytest.approx(wilson(30, 100))
    same = [[number < 30] * 12 for number in range(100)]  # a seed gives one image twelve times
    assert clustered(same)[0] == pytest.approx(0.3)
    assert clustered(same)[1] == pytest.approx(wilson(30, 100), abs=0.002)
    assert clustered([[True] * 12])[1] == wilson(1, 1)
    assert clustered([[False] * 12] * 8) == (0, wilson(0, 8))
    assert clustered([[True, False]] * 50) == (0.5, wilson(50, 100))  # every seed gives the same share


def test_the_interval_of_a_mean_is_students():
    assert mean_interval([1.0, 2.0]) is None
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert mean_interval([0.0, 0.5, 1.0], 0, 1) == (0, 1)

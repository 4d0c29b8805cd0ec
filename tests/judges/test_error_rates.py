"""A judge's error rates and the correction of a counted rate, against closed forms."""

import pytest
import torch

from vdu.intervals import wilson
from vdu.judges.error_rates import ErrorRates, lang_reiczigel, rogan_gladen


@pytest.mark.parametrize(("true", "sensitivity", "specificity"), [(0.0, 0.8, 0.9), (0.13, 0.7, 0.95), (1.0, 0.9, 0.6)])
def test_rogan_gladen_inverts_what_an_imperfect_judge_counts(true, sensitivity, specificity):
    counted = true * sensitivity + (1 - true) * (1 - specificity)
    assert rogan_gladen(counted, sensitivity, specificity) == pytest.approx(true)
    assert rogan_gladen(0, sensitivity, specificity) == 0
    with pytest.raises(ValueError, match="no better than chance"):
        rogan_gladen(counted, 1 - specificity, specificity)


def test_the_interval_of_a_perfect_and_endlessly_tested_judge_is_that_of_agresti_and_coull():
    low, high = lang_reiczigel((50, 100), (10**9, 10**9), (10**9, 10**9))
    assert (low, high) == pytest.approx(wilson(50, 100), abs=2e-3)  # whose centre it has, and nearly its width
    assert lang_reiczigel((0, 100), (40, 50), (190, 200))[0] == 0


@pytest.mark.parametrize(
    ("true", "sensitivity", "specificity", "pictures", "rest"),
    [(0.1, 0.8, 0.93, 32, 128), (0.3, 0.9, 0.9, 64, 64), (0.5, 0.7, 0.97, 16, 128)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(true, sensitivity, specificity, pictures, rest):
    torch.manual_seed(0)
    draws, count = 1000, 250
    counted = true * sensitivity + (1 - true) * (1 - specificity)
    hits, found, passed = (
        torch.distributions.Binomial(n, torch.tensor(share)).sample((draws,)).int().tolist()
        for n, share in ((count, counted), (pictures, sensitivity), (rest, specificity))
    )
    inside = 0
    for hit, sure, clear in zip(hits, found, passed, strict=True):
        low, high = lang_reiczigel((hit, count), (sure, pictures), (clear, rest))
        inside += low <= true <= high
    assert 0.92 <= inside / draws <= 0.99


def test_chance_is_told_from_skill_and_false_alarms_are_not_steered_against():
    assert not ErrorRates(8, 1, 128, 112, False).better_than_chance  # sees an eighth of either
    assert not ErrorRates(8, 8, 128, 0, False).better_than_chance
    assert ErrorRates(8, 5, 128, 124, False).better_than_chance
    known, drawn = (ErrorRates(32, 24, 128, 120, mine) for mine in (False, True))
    assert known.counted(0.01) == pytest.approx(0.0075 + 0.99 * (1 - wilson(120, 128)[1]))
    assert drawn.counted(0.01) == 0.01
    assert known.corrected(20, 200)["forget_rate_corrected"] == pytest.approx((0.1 - 0.0625) / 0.6875)
    assert set(drawn.corrected(20, 200).values()) == {None}

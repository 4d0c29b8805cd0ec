"""Texts and curves against values worked out by hand."""

import pytest

from vdu.charts import FORGOTTEN, class_shares, running_mean
from vdu.summary import with_article


def test_a_running_mean_looks_back_only():
    assert running_mean([1.0, 3.0, 5.0, 9.0], 2) == [1.0, 2.0, 4.0, 7.0]
    assert running_mean([2.0, 4.0], 20) == [2.0, 3.0]
    assert running_mean([], 20) == []


@pytest.mark.parametrize(
    ("name", "words"), [("3", "a 3"), ("8", "an 8"), ("sneaker", "a sneaker"), ("ankle boot", "an ankle boot")]
)
def test_a_class_has_its_article(name, words):
    assert with_article(name) == words


def test_dollar_signs_in_a_users_words_are_drawn_as_such():
    words = "a $20 bill, not $\\frac{1$"
    before = {"class_shares": {words: 0.5, "a dog": 0.5}}
    assert class_shares(before, before, words).startswith("<svg")


def test_only_the_forgotten_class_is_red():
    before = {"class_shares": {"a red car": 0.5, "car": 0.5}}
    red = {name: class_shares(before, before, name).count(FORGOTTEN) for name in ("a red car", "car", "red sneaker")}
    assert red["a red car"] == red["car"] == red["red sneaker"] + 1  # its bar beside the mark in the legend

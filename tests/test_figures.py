"""Words and curves against what is worked out by hand."""

import pytest

from vdu.figures import running_mean
from vdu.report import a


def test_a_running_mean_looks_back_only():
    assert running_mean([1.0, 3.0, 5.0, 9.0], 2) == [1.0, 2.0, 4.0, 7.0]
    assert running_mean([2.0, 4.0], 20) == [2.0, 3.0]
    assert running_mean([], 20) == []


@pytest.mark.parametrize(
    ("name", "words"), [("3", "a 3"), ("8", "an 8"), ("sneaker", "a sneaker"), ("ankle boot", "an ankle boot")]
)
def test_a_class_has_its_article(name, words):
    assert a(name) == words

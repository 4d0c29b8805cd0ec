"""The curves' smoothing against numbers worked out by hand."""

from vdu.figures import running_mean


def test_a_running_mean_looks_back_only():
    assert running_mean([1.0, 3.0, 5.0, 9.0], 2) == [1.0, 2.0, 4.0, 7.0]
    assert running_mean([2.0, 4.0], 20) == [2.0, 3.0]
    assert running_mean([], 20) == []

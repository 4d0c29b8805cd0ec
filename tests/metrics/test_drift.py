"""How far the retained images moved, on a few points in the plane."""

from types import SimpleNamespace

import pytest
import torch
from evidence import NOTHING, ONE_OF_THREE, digits

from vdu.metrics import Evidence, rate, relative_drift, total_variation
from vdu.metrics.drift import METRICS


def changes(evidence):
    """All figures of the module; empty if no seed is to be retained."""
    return {key: value for metric in METRICS if metric.applies(evidence) for key, value in metric.compute(evidence).items()}


def test_total_variation():
    assert total_variation([2, 2], [30, 10]) == pytest.approx(0.25)
    assert total_variation([1, 0], [0, 5]) == 1
    assert total_variation([3, 1], [6, 2]) == 0
    assert total_variation([0, 0], [1, 1]) == 1


def test_relative_drift():
    before = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    assert relative_drift(before, before) == 0
    assert relative_drift(before, before + torch.tensor([0.0, 1.0])) == pytest.approx(1 / 4)
    assert relative_drift(torch.zeros(2, 2), torch.ones(2, 2)) is None  # nothing to compare it with
    assert relative_drift(torch.zeros(1, 2), torch.ones(1, 2)) is None


def test_changes_are_counted_over_the_seeds_that_drew_the_rest():
    moved = torch.tensor([[9.0, 9.0], [0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    after = digits([1, 1, 1, 1, 0], moved + torch.tensor([0.0, 1.0]))
    before = digits([0, 1, 1, 2, 2], moved)
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING, None, before)) == {
        "retained_drift": pytest.approx(0.5),  # one unit up, where unrelated seeds are two apart
        **rate("retained_same_class", torch.tensor([True, True, False, False])),
        "retained_share_tv": pytest.approx(0.5),  # from half and half to all and nothing
        "least_retained_ratio": 0.0,
        "least_retained_class": "2",
    }
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING, None, digits([0] * 5))) == {}
    never_drawn = changes(
        Evidence(digits([1, 1, 1, 0, 0], moved), ONE_OF_THREE, NOTHING, None, digits([0, 1, 1, 1, 1], moved))
    )
    assert (never_drawn["least_retained_ratio"], never_drawn["least_retained_class"]) == (0.5, "1")  # nobody drew a 2
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING)) == {}


def test_a_single_class_to_keep_has_no_share_that_could_move():
    before, after = digits([0, 1, 1, 1]), digits([0, 1, 1, 2])
    alone = SimpleNamespace(**vars(ONE_OF_THREE) | {"retained_classes": ["1"]})
    figures = changes(Evidence(after, alone, NOTHING, None, before))
    assert {"retained_share_tv", "least_retained_ratio", "least_retained_class"} & set(figures) == set()
    assert figures["retained_same_class"] == 2 / 3

"""Precision, recall, density and coverage on clouds laid out by hand, and against the authors' own code."""

from types import SimpleNamespace

import pytest
import torch

from vdu.metrics import METRICS, Evidence, wilson
from vdu.metrics.manifold import FEWEST, NEAREST, density, radii, share, verdicts

KEYS = ("precision", "recall", "density", "coverage")


def line(*places: float) -> torch.Tensor:
    """Points on a line, in the plane."""
    return torch.tensor([[place, 0.0] for place in places], dtype=torch.float64)


def normal(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


class Given(Evidence):
    """Evidence with two given clouds."""

    def __init__(self, samples, real):
        object.__setattr__(self, "reference", SimpleNamespace(statistics={"a": None}))
        self.__dict__ |= {"retained": SimpleNamespace(features=samples), "real_retained": real}


def test_the_radius_reaches_to_the_fifth_other_point():
    assert radii(line(0, 1, 2, 3, 4, 5, 7)).tolist() == [5, 4, 3, 3, 3, 4, 6]


def test_clouds_by_hand():
    # Balls of the real points: of 0..5 radii 5, 4, 3, 3, 4, 5; of 100 radius 99. Samples: 5 among them, 2 far away.
    real = line(0, 1, 2, 3, 4, 5, 100)
    samples = line(0.5, 0.5, 0.5, 0.5, 0.5, -1000, -2000)
    found = verdicts(real, samples)
    assert found["precision"].tolist() == [True] * 5 + [False] * 2
    # |0.5 - 100| = 99.5 is outside 99; 0.5 is in the balls of all the others: of 5, 4.5 < 5.
    assert (found["density"] * NEAREST).tolist() == [6] * 5 + [0] * 2
    assert found["coverage"].tolist() == [True] * 6 + [False]
    # The fifth other point of a sample at 0.5 is that at -1000: its ball has radius 1000.5 and takes in all real points.
    assert found["recall"].all()


def test_clouds_far_apart_share_nothing():
    found = verdicts(normal(50, 0), normal(50, 1, 1000.0))
    assert not any(found[key].any() for key in KEYS)


def test_a_mode_that_is_dropped_costs_recall_and_coverage_but_no_precision():
    real, samples = torch.cat([normal(100, 0), normal(100, 1, 100.0)]), normal(200, 2)
    found = verdicts(real, samples)
    assert not found["recall"][100:].any()
    assert not found["coverage"][100:].any()
    assert found["coverage"][:100].double().mean() > 0.9
    assert found["precision"].double().mean() > 0.8


def test_the_figures_are_those_of_the_authors():
    prdc = pytest.importorskip("prdc")
    real, samples = normal(200, 0), normal(200, 1, 0.4)
    theirs, ours = prdc.compute_prdc(real.numpy(), samples.numpy(), NEAREST), verdicts(real, samples)
    for key in KEYS:
        assert ours[key].double().mean().item() == pytest.approx(theirs[key])


def test_sides_of_unlike_numbers_are_refused():
    with pytest.raises(ValueError, match="8 real images and 7 samples"):
        verdicts(normal(8, 0), normal(7, 0))


def test_figures_take_as_many_of_both_and_are_seeded():
    evidence = Given(normal(300, 0), normal(120, 1))
    figures = share("precision", evidence) | density(evidence)
    assert figures["manifold_samples"] == 120
    assert figures["precision_ci95"] == wilson(round(120 * figures["precision"]), 120)
    low, high = figures["density_ci95"]
    assert low < figures["density"] < high
    again = Given(normal(300, 0), normal(120, 1))
    assert share("precision", again) | density(again) == figures


def test_the_interval_of_density_is_that_of_a_mean():
    wide, narrow = (density(Given(normal(count, 0), normal(count, 1)))["density_ci95"] for count in (100, 1600))
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(4, rel=0.4)


def test_too_few_images_or_none_say_nothing():
    for real in (normal(FEWEST - 1, 1), normal(0, 1)):
        evidence = Given(normal(300, 0), real)
        assert share("recall", evidence) == {"recall": None, "recall_ci95": None}
        assert density(evidence)["density"] is None
    rows = {metric.key: metric for metric in METRICS}
    for key in KEYS:
        assert rows[key].applies(Given(normal(1, 0), normal(1, 0)))
        assert not rows[key].applies(SimpleNamespace(reference=SimpleNamespace(statistics={})))

"""The second judge: its word replaces the first one's in the same figures, and its real images replace those of the first."""

from types import SimpleNamespace

import pytest
import torch
from evidence import NOTHING, ONE_OF_THREE, digits

from vdu.catalog import CATALOG
from vdu.metrics import Evidence, measure
from vdu.metrics.frechet import Moments
from vdu.metrics.reference import SECOND, Reference
from vdu.metrics.second import METRICS
from vdu.task import reference_of


class SeesTwice:
    """Sees a 0 in every other image, whatever the first judge saw."""

    axes, digest = ONE_OF_THREE.axes, "second"
    calls = 0

    def judge(self, images):
        self.calls += 1
        shown = torch.arange(len(images)) % 2
        return torch.eye(3)[shown], torch.stack([shown, 2 * shown + torch.arange(len(images))], dim=1).double()


def test_its_rates_and_its_distance_are_those_of_its_own_eyes():
    random = torch.Generator().manual_seed(0)
    real = {name: torch.randn(40, 2, generator=random).double() for name in "12"}
    others = SimpleNamespace(statistics={name: Moments.of(part) for name, part in real.items()}, real_features=real.get)
    reference = SimpleNamespace(statistics={}, second=(SeesTwice(), others))
    figures = measure(Evidence(digits([1, 1, 2, 2, 2, 2]), ONE_OF_THREE, reference))
    assert figures["forget_rate"] == 0
    assert figures["second_forget_rate"] == 0.5
    assert figures["second_forget_rate_ci95"] == pytest.approx((0.188, 0.812), abs=1e-3)  # Wilson, 3 of 6
    assert figures["second_class_shares"] == {"0": 0.5, "1": 0.5, "2": 0.0}
    assert figures["second_retained_samples"] == 3
    low, high = figures["second_retain_fid_ci95"]
    assert low <= figures["second_retain_fid"] <= high
    assert reference.second[0].calls == 1, "it looks at every image once"


def test_without_one_there_are_no_such_figures():
    figures = measure(Evidence(digits([1, 2]), ONE_OF_THREE, NOTHING))
    assert not [key for key in figures if key.startswith("second")]
    assert not any(metric.applies(Evidence(digits([1, 2]), ONE_OF_THREE, Reference())) for metric in METRICS)


def test_the_shipped_one_has_the_classes_of_the_first_and_is_another_network():
    entry = CATALOG["cifar10-ddpm"]
    judge, reference = reference_of(entry).second
    (classifier,), (first,) = judge.classifiers, entry.judge.classifiers
    assert tuple(classifier.classes) == tuple(first.classes) == entry.classes
    assert classifier.config["residual"] != first.config["residual"]
    assert {*reference.statistics} == {*reference.features} == {*entry.classes}
    assert reference.second is None
    assert not (reference.folder / SECOND).exists()

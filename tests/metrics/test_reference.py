"""The shipped features of real pictures."""

import pytest
import torch

from vdu.catalog import CATALOG
from vdu.task import reference_of

PICTURES = [("mnist-ddpm", "3"), ("tiny-sd", "sneaker"), ("tiny-sd", "red")]  # of other models no real pictures ship


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_there_are_features_of_every_class(entry):
    reference = reference_of(entry)
    assert {*reference.features} == {*reference.statistics} == {*entry.classes}
    for name in entry.classes:
        features = reference.real_features(name)
        assert features.dtype == torch.float64
        assert len(features) > 100
        assert features.isfinite().all()


@pytest.mark.parametrize(("model", "name"), PICTURES)
def test_they_are_what_the_judge_sees_in_the_shipped_pictures(model, name):
    entry = CATALOG[model]
    features = entry.judge.judge(entry.pictures.examples(name))[1]
    torch.testing.assert_close(reference_of(entry).real_features(name), features, rtol=1e-2, atol=1e-2)

"""The shipped classifiers: they load as saved, and judge a model's axes one after another."""

import pytest
import torch

from vdu.catalog import CATALOG, WITH_JUDGE
from vdu.judges.classifier import Classifier


@pytest.mark.parametrize(("residual", "size", "channels"), [(True, 64, 3), (False, 28, 1)])
def test_a_judge_comes_back_as_it_was_saved(residual, size, channels, tmp_path):
    judge = Classifier(["a", "b"], channels=channels, size=size, width=4, residual=residual).eval()
    judge.save(tmp_path)
    images = torch.randint(0, 256, (3, channels, size, size), dtype=torch.uint8)
    torch.testing.assert_close(Classifier.load(tmp_path).judge(images)[0], judge.judge(images)[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize("entry", WITH_JUDGE, ids=[entry.name for entry in WITH_JUDGE])
def test_probabilities_sum_to_one_over_each_axis_and_follow_the_classes(entry):
    images = torch.randint(0, 256, (3, *entry.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probabilities, features = entry.judge.judge(images)
    parts = probabilities.split([len(names) for names in entry.axes.values()], dim=1)
    for part in parts:
        torch.testing.assert_close(part.sum(1), torch.ones(3))
    assert [classifier.classes for classifier in entry.judge.classifiers] == [list(names) for names in entry.axes.values()]
    assert (features.shape, features.dtype) == ((3, 64 * len(entry.axes)), torch.float64)
    assert list(entry.judge.fit(None, None)) == []  # it ships
    assert entry.judge.error_rates is None


@pytest.mark.parametrize("name", "38")
def test_real_digits_are_seen_for_what_they_are(name):
    entry = CATALOG["mnist-ddpm"]
    probabilities, _ = entry.judge.judge(entry.pictures.examples(name)[:100])
    assert (probabilities.argmax(1) == int(name)).double().mean() > 0.95

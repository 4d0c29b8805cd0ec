"""Structural similarity: against its closed form for plain images, and what it says of seeds."""

from dataclasses import replace

import pytest
import torch
from evidence import NOTHING, ONE_OF_THREE, digits

from vdu.metrics import Evidence
from vdu.metrics.integrity import METRICS, retained_ssim, structural_similarity

SIZE = (1, 16, 16)


def plain(*levels: int) -> torch.Tensor:
    return torch.stack([torch.full(SIZE, level, dtype=torch.uint8) for level in levels])


def test_equal_images_have_1_and_plain_ones_the_ratio_of_their_means():
    first, second = (0.01 * 255) ** 2, 100 * 200  # the constant that steadies the ratio; the product of the means
    expected = torch.tensor([1.0, first / (255**2 + first), (2 * second + first) / (100**2 + 200**2 + first)])
    found = structural_similarity(plain(7, 0, 100), plain(7, 255, 200))
    assert torch.allclose(found, expected, atol=1e-4)


def test_noise_on_noise_is_unlike_and_more_pairs_than_a_chunk_are_compared_one_by_one():
    images = torch.randint(0, 256, (130, *SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert structural_similarity(images, images.roll(1, dims=0)).abs().mean() < 0.2
    mixed = torch.cat([images[:100], images[:30]])
    found = structural_similarity(images, mixed)
    assert torch.allclose(found[:100], torch.ones(100), atol=1e-4)
    assert found[100:].max() < 0.9


def with_images(samples, images):
    return replace(samples, images=images)


@pytest.mark.parametrize(("levels", "interval"), [((9, 9), True), ((9,), False)])
def test_a_seed_that_draws_the_same_counts_1_and_a_single_pair_has_no_interval(levels, interval):
    classes = [1] * len(levels)  # class 0 is forgotten
    before, after = (with_images(digits(classes), plain(*levels)) for _ in range(2))
    evidence = Evidence(after, ONE_OF_THREE, NOTHING, before=before)
    figures = retained_ssim(evidence)
    assert figures["retained_ssim"] == pytest.approx(1, abs=1e-4)
    assert figures["retained_ssim_floor"] == (pytest.approx(1, abs=1e-4) if interval else None)  # of other seeds
    assert (figures.get("retained_ssim_ci95") is not None) == interval


def test_it_applies_only_to_a_comparison_of_images_as_large_as_its_window():
    small = digits([1, 2])
    large = with_images(small, plain(1, 2))
    (metric,) = METRICS
    assert not metric.applies(Evidence(large, ONE_OF_THREE, NOTHING))
    assert metric.applies(Evidence(large, ONE_OF_THREE, NOTHING, before=large))
    assert not metric.applies(Evidence(with_images(small, plain(1, 2)[:, :, :8]), ONE_OF_THREE, NOTHING, before=large))

"""The classifier of noised images: its closed forms, its gradient, and what it learns."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DModel
from dummies import dummy_ddpm
from safetensors.torch import save_file

from vdu import noised_classifier
from vdu.models import load_model
from vdu.noised_classifier import LONGEST, NEAREST, PLACES, SHIPPED, NoisedClassifier, PooledFeatures, learn, nearness, shipped
from vdu.sampling import run_to_end


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random network of small colour images."""
    return load_model(dummy_ddpm(tmp_path_factory.mktemp("ddpm")), "cpu")


def made(model, weight: float, bias: float = 0.0) -> NoisedClassifier:
    """A classifier with the same weight on every feature."""
    features = PooledFeatures(model)
    width = features(torch.zeros(1, *model.shape), torch.tensor([5]))[1].shape[1]
    even = torch.ones(width)
    weights, biases = torch.zeros(PLACES, 2, width), torch.zeros(PLACES, 2)
    weights[:, 1], biases[:, 1] = weight, bias
    return NoisedClassifier(features, 0 * even, even, weights, biases, torch.tensor([False, True]))


def test_between_two_places_the_regressions_are_interpolated():
    near = nearness(torch.tensor([0, 999, 333]) / 999, 3)
    assert near[0].tolist() == [1, 0, 0]
    assert near[1].tolist() == [0, 0, 1]
    assert near[2].tolist() == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-5)


def test_the_odds_of_several_classes_are_those_of_their_sum_without_the_share_that_they_had(model):
    features = PooledFeatures(model)
    width = features(torch.zeros(1, *model.shape), torch.tensor([5]))[1].shape[1]
    random, even = torch.Generator().manual_seed(0), torch.ones(width)
    weights, bias = (torch.randn(shape, generator=random) / width**0.5 for shape in ((4, 3, width), (4, 3)))
    classifier = NoisedClassifier(features, 0 * even, 2 * even, weights, bias, torch.tensor([True, False, True]), 0.2)
    rows, t = torch.randn((2, width), generator=random), torch.tensor([333, 999])
    assert torch.allclose((rows[0] / 2) @ weights[1].T + bias[1], classifier.scores(rows, t)[0], atol=1e-3)
    assert torch.allclose((rows[1] / 2) @ weights[3].T + bias[3], classifier.scores(rows, t)[1], atol=1e-3)
    chances = classifier.scores(rows, t).softmax(1)[:, [0, 2]].sum(1)
    assert torch.allclose(classifier.log_odds(rows, t), torch.logit(chances) - math.log(0.2 / 0.8), atol=1e-3)


def test_the_contrast_is_with_the_most_similar_of_the_rest_and_with_a_single_other_class_it_is_the_log_odds(model):
    one = made(model, 0.01, 0.5)
    rows, t = torch.randn((3, len(one.mean)), generator=torch.Generator().manual_seed(0)), torch.tensor([10, 500, 900])
    assert torch.allclose(one.contrast(rows, t), one.log_odds(rows, t), atol=1e-4)
    bias = torch.tensor([1.0, 0.0, -5.0]).expand(2, 3)  # the concept, what is like it, what is not
    first = torch.tensor([True, False, False])
    three = NoisedClassifier(one.features, one.mean, one.scale, torch.zeros(2, 3, len(one.mean)), bias, first, 0.3)
    near = 1.0 - NEAREST * math.log(1 + math.exp(-5 / NEAREST))
    assert three.contrast(rows, t).tolist() == pytest.approx([near] * 3, abs=1e-5)


def test_what_ships_is_for_classes_that_it_knows(model, tmp_path):
    assert shipped(model, ["a"]) is None
    width = PooledFeatures(model)(torch.zeros(1, *model.shape), torch.tensor([5]))[1].shape[1]
    shapes = {"mean": (width,), "scale": (width,), "weights": (2, 3, width), "bias": (2, 3)}
    parts = {name: torch.ones(shape).half() for name, shape in shapes.items()} | {"shares": torch.tensor([0.5, 0.2, 0.3])}
    save_file(parts, tmp_path / SHIPPED, metadata={"classes": json.dumps(["a", "b", "c"])})
    at_home = copy.copy(model)
    at_home.folder = tmp_path
    found = shipped(at_home, ["b", "c"])
    assert found.concept.tolist() == [False, True, True]
    assert found.share == pytest.approx(0.5)
    assert shipped(at_home, ["b", "d"]) is None
    assert shipped(at_home, []) is None


def test_features_are_those_of_each_image_alone_and_the_noise_is_the_networks(model):
    features, states, t = PooledFeatures(model), torch.randn(3, *model.shape), torch.tensor([1, 300, 900])
    with torch.no_grad():
        noise, found = features(states, t)
        alone = torch.cat([features(states[row : row + 1], t[row : row + 1])[1] for row in range(3)])
        assert torch.allclose(noise, model.predict_noise(states, t, model.conditions([None] * 3)))
    assert torch.allclose(found, alone, rtol=0.05, atol=0.05)  # bfloat16 rounds by the batch
    assert not features.seen


def test_the_shift_is_the_gradient_of_the_log_of_what_is_left(model):
    classifier, t, gamma = made(model, 0.01), torch.tensor([400, 400]), 0.7
    states = torch.randn(2, *model.shape)
    noise, shift = classifier.shift(states, t, gamma)

    inputs = states.clone().requires_grad_()
    odds = classifier.log_odds(classifier.features(inputs, t)[1], t) - torch.logit(torch.tensor(gamma))  # of two classes
    (slope,) = torch.autograd.grad(torch.log1p(-odds.sigmoid()).sum(), inputs)
    expected = -(1 - model.alpha_bar[400]).sqrt() * slope
    assert (shift - expected).norm() <= 0.02 * expected.norm()
    assert noise.shape == shift.shape == states.shape


@pytest.mark.parametrize(("weight", "bias"), [(0.0, 3.0), (0.1, -200.0)])
def test_where_nothing_is_seen_or_nothing_changes_the_odds_there_is_no_shift(model, weight, bias):
    _, shift = made(model, weight, bias).shift(torch.randn(2, *model.shape), torch.tensor([100, 800]), 0.5)
    assert shift.abs().max() < 1e-6


def test_no_shift_is_longer_than_a_share_of_the_noise(model):
    noise, shift = made(model, 100.0).shift(torch.randn(2, *model.shape), torch.tensor([100, 800]), 0.5)
    assert (shift.flatten(1).norm(dim=1) <= LONGEST * noise.flatten(1).norm(dim=1) * 1.001).all()


def test_a_network_without_a_middle_and_one_of_a_single_pixel_have_features():
    flat = {"layers_per_block": 1, "block_out_channels": (8, 8), "norm_num_groups": 2, "in_channels": 1, "out_channels": 1,
            "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}  # fmt: skip
    for more in ({"sample_size": 4, "mid_block_type": None}, {"sample_size": 2}):
        network = UNet2DModel(**flat, **more)
        model = SimpleNamespace(
            unet=network, alpha_bar=torch.ones(10), conditions=lambda prompts: None,
            predict_noise=lambda states, t, _, network=network: network(states, t).sample,
        )  # fmt: skip
        size = more["sample_size"]
        _, features = PooledFeatures(model)(torch.randn(3, 1, size, size), torch.tensor([1, 5, 9]))
        assert features.isfinite().all()
        assert features.shape == (3, 3 * 8 * (3 if size == 4 else 4))


def test_it_learns_to_tell_bright_images_from_dark_ones_while_something_is_left_of_them(model, monkeypatch):
    monkeypatch.setattr(noised_classifier, "LESSONS", 256)
    bright, dark = 0.6 + 0.2 * torch.rand(12, *model.shape), -0.6 - 0.2 * torch.rand(9, *model.shape)
    learned = [run_to_end(learn(model, bright, dark, torch.Generator().manual_seed(3))) for _ in range(2)]
    assert torch.equal(learned[0].weights, learned[1].weights)
    with torch.no_grad():
        for t, most in ((100, 0.05), (400, 0.3)):
            times, noise = torch.full((9,), t), torch.randn(9, *model.shape)
            alpha_bar = model.alpha_bar[t]
            odds = [
                learned[0].log_odds(
                    learned[0].features(alpha_bar.sqrt() * part[:9] + (1 - alpha_bar).sqrt() * noise, times)[1], times
                )
                for part in (bright, dark)
            ]
            assert (odds[0] <= odds[1]).double().mean() <= most

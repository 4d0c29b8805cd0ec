"""The Kronecker posterior against explicit matrices, and as the metric of a run."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from vdu.kronecker import Kronecker, estimate
from vdu.losses import stability_regularizer
from vdu.models import DDPM, NO_CONDITION
from vdu.posterior import POSTERIORS, SPREAD, mean_of
from vdu.sampling import run_to_end

SIZE, BATCHES = 6, 3


class Mixing(torch.nn.Module):
    """A convolution without taps, whose channels are mixed, and a scale."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.conv = torch.nn.Conv2d(2, 2, 1, bias=True)
        self.conv.weight = torch.nn.Parameter(torch.randn((2, 2, 1, 1), generator=random))
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.config = SimpleNamespace(sample_size=1, in_channels=2)

    def forward(self, noisy, t):
        return SimpleNamespace(sample=self.scale * self.conv(noisy))


@pytest.fixture
def model(monkeypatch):
    """A model of two pixels and six parameters of a layer, computed in float32."""
    monkeypatch.setattr("vdu.models.devices.has_bfloat16", lambda device: False)
    return DDPM(Mixing(), DDPMScheduler(), "cpu", "mixing")


def batches():
    random = torch.Generator().manual_seed(1)
    for _ in range(BATCHES):
        states = torch.randn((SIZE, 2, 1, 1), generator=random)
        yield states, torch.full((SIZE,), 500), NO_CONDITION, states


@pytest.fixture
def posterior(model):
    return run_to_end(estimate(model, batches(), BATCHES))


def covariance_of(posterior: Kronecker) -> torch.Tensor:
    """The covariance of the layer's weights as a matrix, a column per weight."""
    columns = torch.eye(4).view(4, 2, 2, 1, 1)
    return torch.stack([posterior.times_covariance({"conv.weight": one})["conv.weight"].flatten() for one in columns])


def test_the_factors_are_second_moments_of_inputs_and_of_gradients(model, posterior):
    states = torch.cat([batch[0] for batch in batches()]).flatten(1)
    inputs = states.T @ states / len(states)
    # The gradient of u . epsilon in the layer's output is u, as the scale is 1.
    directions = torch.cat(
        [torch.randn((SIZE, 2, 1, 1), generator=torch.Generator().manual_seed(1 + k)) for k in range(BATCHES)]
    )
    outputs = directions.flatten(1).T @ directions.flatten(1) / len(states)
    fisher = torch.kron(outputs, inputs) + posterior.damping * torch.eye(4)
    torch.testing.assert_close(covariance_of(posterior), torch.linalg.inv(fisher), rtol=1e-3, atol=1e-5)


def test_the_marginal_variances_are_the_covariances_diagonal(posterior):
    torch.testing.assert_close(posterior.variance["conv.weight"].flatten(), covariance_of(posterior).diagonal())


def test_covariance_and_precision_are_inverse_to_each_other(model, posterior):
    values = {name: torch.randn(value.shape) for name, value in model.trained.items()}
    back = posterior.times_precision(posterior.times_covariance(values))
    for name, value in values.items():
        torch.testing.assert_close(back[name], value, rtol=1e-3, atol=1e-4)


def test_the_regularizer_is_the_quadratic_form_of_the_precision(model, posterior):
    moved = {name: value.detach() + 0 for name, value in model.trained.items()}
    direction = torch.tensor([1.0, -2.0, 0.5, 3.0])
    moved["conv.weight"] = moved["conv.weight"] + direction.view(2, 2, 1, 1)
    count = sum(value.numel() for value in moved.values())
    expected = direction @ torch.linalg.inv(covariance_of(posterior)) @ direction / 2 / count
    torch.testing.assert_close(stability_regularizer(moved, posterior), expected, rtol=1e-3, atol=1e-5)


def test_a_wider_posterior_has_a_larger_covariance(posterior):
    torch.testing.assert_close(covariance_of(posterior.widened(4.0)), 4 * covariance_of(posterior))
    torch.testing.assert_close(posterior.widened(4.0).variance["scale"], 4 * posterior.variance["scale"])


def test_it_has_the_width_of_the_other_estimates(model, monkeypatch):
    for name, less in (("KRONECKER_IMAGES", 4), ("KRONECKER_BATCHES", 2), ("KRONECKER_BATCH", 4)):
        monkeypatch.setattr(f"vdu.posterior.{name}", less)
    wide = run_to_end(POSTERIORS["kronecker"][0](model))
    spread = SPREAD**2 * mean_of({name: value.square() for name, value in wide.mean.items()})
    assert mean_of(wide.variance) == pytest.approx(spread, rel=1e-3)

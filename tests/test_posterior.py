"""The Gaussian over the parameters, and steps in its metric."""

import pytest
import torch
from conftest import Line
from diffusers import DDPMScheduler

from vdu.errors import UserError
from vdu.models import DDPM
from vdu.optimizers import NaturalGradient
from vdu.posterior import VARIANCE_FLOOR, Posterior, floored, from_checkpoints, isotropic


def test_mean_and_unbiased_variance_over_checkpoints():
    values = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    posterior = from_checkpoints({"w": value} for value in values)
    torch.testing.assert_close(posterior.mean["w"], values.mean(0))
    torch.testing.assert_close(posterior.variance["w"], values.var(0, unbiased=True))


@pytest.mark.parametrize("checkpoints", [[1.0], [1.0, 1.0]])
def test_checkpoints_without_variance_are_refused(checkpoints):
    with pytest.raises(UserError, match="at least two checkpoints"):
        from_checkpoints({"w": torch.tensor([value])} for value in checkpoints)


def test_variances_are_raised_to_the_floor_of_their_tensor():
    posterior = floored(Posterior({}, {"w": torch.tensor([0.0, 2.0])}))
    torch.testing.assert_close(posterior.variance["w"], torch.tensor([VARIANCE_FLOOR, 2.0]))


def test_isotropic_is_centred_on_the_model():
    posterior = isotropic(DDPM(Line(0.3), DDPMScheduler(), "cpu", ""))
    assert posterior.mean["theta"].item() == pytest.approx(0.3)
    assert posterior.variance["theta"].item() == pytest.approx(0.003**2, rel=1e-4)


def test_a_natural_step_has_the_asked_length_along_variance_times_gradient():
    parameter = torch.nn.Parameter(torch.zeros(3))
    variance, gradient = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([1.0, -1.0, 2.0])
    parameter.grad = gradient
    NaturalGradient([parameter], [variance], lr=0.1).step()
    moved = -parameter.detach()
    assert (moved.square() / variance).mean().sqrt().item() == pytest.approx(0.1, rel=1e-5)
    torch.testing.assert_close(moved / moved[0], variance * gradient)

"""The Gaussian over the parameters, and steps in its metric."""

import os
import subprocess
import sys
import time

import pytest
import torch
from diffusers import DDPMScheduler
from line import Line

from vdu.assets import ASSETS
from vdu.errors import UserError
from vdu.estimate_cache import LONGEST_WRITE, WRITES, cache_folder
from vdu.losses import Posterior
from vdu.models import DDPM
from vdu.optimizers import NaturalGradient
from vdu.posterior import (
    DAMPING,
    LAYER_FLOOR,
    POSTERIORS,
    SPREAD,
    VARIANCE_FLOOR,
    checkpoints,
    fisher,
    from_checkpoints,
    isotropic,
    packed,
    unpacked,
    with_floor,
)
from vdu.sampling import run_to_end


class Weighted(Line):
    """epsilon_theta(x_t, t) = theta_j (1, 3)_j x_t of column j: the second parameter matters nine times as much."""

    def __init__(self, theta):
        super().__init__(theta)
        self.theta = torch.nn.Parameter(torch.tensor([theta, theta]))

    def forward(self, noisy, t):
        return super().forward(noisy * torch.tensor([1.0, 3.0]), t)


def model_of(network, digest="test", folder=None):
    return DDPM(network, DDPMScheduler(), "cpu", digest, folder)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
    posterior = with_floor(Posterior({}, {"w": torch.tensor([0.0, 2.0])}))
    torch.testing.assert_close(posterior.variance["w"], torch.tensor([VARIANCE_FLOOR, 2.0]))


def test_a_variance_in_a_byte_is_the_variance_within_nine_percent():
    variance = torch.logspace(-18, 0, 200)
    code = packed({"w": variance, "none": torch.zeros(2)})
    assert code["w"].dtype == torch.uint8
    found = unpacked(code | {"whole": variance})
    assert ((found["w"] / variance - 1).abs() < 2**0.125 - 1 + 1e-4).all()
    assert (found["none"] < 1e-19).all()
    assert torch.equal(found["whole"], variance)


def test_isotropic_is_centred_on_the_model():
    posterior = run_to_end(isotropic(model_of(Line(0.3))))
    assert posterior.mean["theta"].item() == pytest.approx(0.3)
    assert posterior.variance["theta"].item() == pytest.approx((SPREAD * 0.3) ** 2, rel=1e-4)


@pytest.mark.usefixtures("own_cache")
def test_fisher_is_narrow_where_the_prediction_depends_on_a_parameter():
    posterior = run_to_end(fisher(model_of(Weighted(0.3))))
    variance = posterior.variance["theta"]
    # F = (1, 9) E||x_t||^2 over a column; the damping is DAMPING times the mean of the two.
    expected = (9 + 5 * DAMPING) / (1 + 5 * DAMPING)
    assert (variance[0] / variance[1]).item() == pytest.approx(expected, rel=0.3)
    assert variance.mean().item() == pytest.approx((SPREAD * 0.3) ** 2, rel=1e-4)


@pytest.mark.parametrize("name", ["fisher", "layers", "swag"])
def test_an_estimate_is_kept_by_what_it_was_made_from_and_a_broken_file_is_made_anew(name, own_cache):
    estimate, _ = POSTERIORS[name]
    seen = []
    first = run_to_end(estimate(model_of(Weighted(0.3))), seen.append)
    assert seen
    assert all(event.phase == "posterior" for event in seen)
    (kept,) = own_cache.iterdir()
    assert kept.match(f"{name}-*.safetensors")

    seen.clear()
    again = run_to_end(estimate(model_of(Weighted(0.3))), seen.append)
    torch.testing.assert_close(again.variance, first.variance, rtol=0, atol=0)
    assert not seen
    whole = kept.read_bytes()
    for broken in (whole[:20], whole[:-4] + bytes([0, 0, 192, 127])):  # cut short; a NaN at the end
        kept.write_bytes(broken)
        again = run_to_end(estimate(model_of(Weighted(0.3))))
        torch.testing.assert_close(again.variance, first.variance, rtol=0, atol=0)
        assert kept.read_bytes() == whole

    run_to_end(estimate(model_of(Weighted(0.4), digest="another")))
    assert len(list(own_cache.iterdir())) == 2


def test_an_estimate_that_cannot_be_kept_is_made_all_the_same(own_cache):
    own_cache.write_text("a file where the folder should be")
    assert run_to_end(fisher(model_of(Weighted(0.3)))).variance["theta"].min() > 0
    assert own_cache.read_text() == "a file where the folder should be"


def test_a_user_without_a_home_has_estimates_but_no_cache(monkeypatch):
    monkeypatch.delenv("VDU_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user id of nobody, without HOME
    assert cache_folder() is None
    assert run_to_end(fisher(model_of(Weighted(0.3)))).variance["theta"].min() > 0


def test_what_a_killed_process_left_in_the_cache_is_deleted_at_once_or_if_of_another_machine_when_old(own_cache):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = f"{WRITES}{os.getpid()}-abc"
    for name, age in (
        ("tmp-other-1-old", LONGEST_WRITE + 60), ("tmp-other-1-new", 0), (f"{WRITES}{dead.pid}-abc", 0), (living, 0),
    ):  # fmt: skip
        (own_cache / name).mkdir(parents=True)
        (own_cache / name / "half.safetensors").touch()
        os.utime(own_cache / name, (time.time() - age,) * 2)
    run_to_end(fisher(model_of(Weighted(0.3))))
    assert {path.name for path in own_cache.iterdir() if path.is_dir()} == {"tmp-other-1-new", living}


def test_swag_keeps_the_mean_and_has_a_variance_everywhere():
    posterior = run_to_end(POSTERIORS["swag"][0](model_of(Weighted(0.3), "swag")))
    torch.testing.assert_close(posterior.mean["theta"], torch.tensor([0.3, 0.3]))
    assert posterior.variance["theta"].min() > 0


def test_a_model_without_checkpoints_is_told_what_to_choose(tmp_path):
    with pytest.raises(UserError, match="choose the posterior fisher"):
        checkpoints(model_of(Line(0.3), folder=tmp_path))
    with pytest.raises(UserError, match="not one of all parameters to train; choose the posterior fisher"):
        checkpoints(model_of(Line(0.3), folder=ASSETS / "mnist-ddpm"))


def test_a_natural_step_has_the_asked_length_along_variance_times_gradient():
    parameter = torch.nn.Parameter(torch.zeros(3))
    variance, gradient = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([1.0, -1.0, 2.0])
    parameter.grad = gradient
    NaturalGradient({"w": parameter}, Posterior({}, {"w": variance}), lr=0.1).step()
    moved = -parameter.detach()
    assert (moved.square() / variance).mean().sqrt().item() == pytest.approx(0.1, rel=1e-5)
    torch.testing.assert_close(moved / moved[0], variance * gradient)


class Layered(Line):
    """epsilon_theta(x_t, t) = (a_1 + a_2 + 3 b) x_t, so that a weight of b counts nine times one of a; c does nothing."""

    def __init__(self):
        super().__init__(0.3)
        self.theta = torch.nn.Parameter(torch.tensor([0.1, 0.2]))
        self.other, self.idle = torch.nn.Parameter(torch.tensor([0.3])), torch.nn.Parameter(torch.tensor([0.5]))

    def forward(self, noisy, t):
        predicted = super().forward(noisy, t)
        return type(predicted)(sample=noisy * (self.theta.sum() + 3 * self.other + 0 * self.idle))


@pytest.mark.usefixtures("own_cache")
def test_layers_have_one_variance_a_tensor_and_none_without_end():
    variance = run_to_end(POSTERIORS["layers"][0](model_of(Layered(), "layered"))).variance
    assert variance["theta"].unique().numel() == 1
    assert (variance["theta"][0] / variance["other"]).item() == pytest.approx(9, rel=0.01)
    assert (variance["idle"] / variance["theta"][0]).item() == pytest.approx(1 / LAYER_FLOOR, rel=0.01)

"""Noise schedules by the scheduler classes of diffusers, and the solver that draws with them."""

import json

import diffusers
import numpy as np
import pytest
import torch
from dummies import dummy_ddpm

from vdu.errors import UserError
from vdu.models import TIMESTEPS, load_model
from vdu.models.schedule import LEAST_SIGNAL, clips, first_timestep, make_solver, misfit


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_only_a_predicted_epsilon_needs_a_later_start(prediction):
    alpha_bar = torch.linspace(1, 0, 1000)
    assert first_timestep(alpha_bar, prediction) == 999
    start = first_timestep(alpha_bar, "epsilon")
    assert alpha_bar[start] >= LEAST_SIGNAL > alpha_bar[start + 1]


def test_the_schedules_of_ddpm_and_stable_diffusion_start_at_their_end():
    for settings in ({}, {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}):
        scheduler = diffusers.DDPMScheduler(**settings)
        assert first_timestep(scheduler.alphas_cumprod, "epsilon") == TIMESTEPS - 1
        assert not clips(scheduler)


def test_a_schedule_that_ends_in_noise_starts_later_and_clips_where_the_folder_does():
    cosine = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    assert 980 < first_timestep(cosine.alphas_cumprod, "epsilon") < TIMESTEPS - 1
    assert clips(cosine)
    assert not clips(diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False))
    assert not clips(diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"))


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction"),
        diffusers.EulerDiscreteScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction"),
        diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample"),
    ],
    ids=["zero", "nearly zero", "cosine"],
)
def test_the_solver_draws_finite_images_down_to_no_signal(scheduler):
    solver, state = make_solver(scheduler, "dpmsolver++"), torch.randn(2, 1, 4, 4)
    solver.set_timesteps(timesteps=[999, 600, 300, 40])
    for t in solver.timesteps:
        state = solver.step(torch.zeros_like(state), t, state).prev_sample
    assert state.isfinite().all()


def test_an_image_that_is_known_is_what_the_solver_ends_with():
    """A network that always predicts the same x_0 leads to it, whatever the schedule and the prediction."""
    clean = torch.rand(1, 1, 4, 4) * 2 - 1
    for prediction in ("epsilon", "v_prediction", "sample"):
        scheduler = diffusers.DDIMScheduler(prediction_type=prediction, clip_sample=False)
        solver, state = make_solver(scheduler, "dpmsolver++"), torch.randn(1, 1, 4, 4)
        solver.set_timesteps(timesteps=[999, 500, 100])
        for t in solver.timesteps:
            alpha, sigma = scheduler.alphas_cumprod[t].sqrt(), (1 - scheduler.alphas_cumprod[t]).sqrt()
            epsilon = (state - alpha * clean) / sigma
            predicted = {"epsilon": epsilon, "v_prediction": alpha * epsilon - sigma * clean, "sample": clean}[prediction]
            state = solver.step(predicted, t, state).prev_sample
        torch.testing.assert_close(state, clean, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(), "flow matching"),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True), "flow matching"),
        (diffusers.EDMEulerScheduler(), "has no alpha-bar_t"),
        (diffusers.CogVideoXDDIMScheduler(), "do not follow from its betas"),
        (diffusers.DDPMScheduler(num_train_timesteps=500), "has 500 timesteps"),
        (diffusers.DDPMScheduler(prediction_type="noise"), "predicts 'noise'"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"), "continuous timesteps"),
        (diffusers.DDPMScheduler(trained_betas=np.zeros(1000)), "do not all lie between 0 and 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_another_process_than_ddpm_is_refused_by_its_reason(scheduler, reason):
    assert reason in str(misfit(scheduler))


def test_the_scheduler_is_read_by_its_own_class(tmp_path):
    """HeunDiscreteScheduler has other betas than DDPMScheduler where the configuration does not state them."""
    folder = dummy_ddpm(tmp_path / "own")
    index = json.loads((folder / "model_index.json").read_text()) | {"scheduler": ["diffusers", "HeunDiscreteScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    expected = diffusers.HeunDiscreteScheduler().alphas_cumprod
    assert torch.equal(load_model(folder).alpha_bar, expected)
    assert not torch.allclose(expected, diffusers.DDPMScheduler().alphas_cumprod)


@pytest.mark.parametrize(
    ("pipeline", "scheduler", "config", "message"),
    [
        ("DDPMPipeline", ["diffusers", "NoScheduler"], {}, "which is not a scheduler of diffusers"),
        ("DDPMPipeline", ["diffusers", "UNet2DModel"], {}, "which is not a scheduler of diffusers"),
        ("DDPMPipeline", [None, None], {}, "has no scheduler"),
        (["pipeline.py", "MyPipeline"], ["diffusers", "DDPMScheduler"], {}, "code of its own"),
        ("DDPMPipeline", ["diffusers", "DDPMScheduler"], {"beta_schedule": "unheard"}, "noise schedule .* could not be read"),
        ("DDIMPipeline", ["diffusers", "DDPMScheduler"], {"beta_schedule": "sigmoid"}, "could not be read"),
        ("DDIMPipeline", ["diffusers", "UnCLIPScheduler"], {}, "which cannot draw with a UnCLIPScheduler's betas"),
    ],
)
def test_a_folder_whose_schedule_cannot_be_known_is_refused(pipeline, scheduler, config, message, tmp_path):
    folder = dummy_ddpm(tmp_path / "own")
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": pipeline, "scheduler": scheduler}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)

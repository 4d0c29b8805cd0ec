"""Training that was killed goes on as if it had not been."""

import json
from types import SimpleNamespace

import pytest
import torch

from vdu.pretrain.ddpm import Autoguidance, ExactAtHighNoise, TrainingConfig, beta_quantile, load_state, train

UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 2,
        "attention_head_dim": 4}  # fmt: skip
CONFIG = TrainingConfig(unet=UNET, steps=6, batch_size=4, warmup=2, constant_from=0.5, snapshots=2)


@pytest.fixture
def images():
    return torch.randint(0, 256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_killed_run_continues_exactly(images, tmp_path, monkeypatch):
    train(images, CONFIG, tmp_path / "whole", save_every=3)

    class Killed(Exception):
        pass

    def die(text, **_):
        if text.startswith("step 3/"):
            raise Killed

    monkeypatch.setattr("builtins.print", die)
    with pytest.raises(Killed):
        train(images, CONFIG, tmp_path / "killed", save_every=3)
    monkeypatch.undo()
    train(images, CONFIG, tmp_path / "killed", save_every=3)
    whole, killed = (load_state(tmp_path / name / "state.safetensors")[1] for name in ("whole", "killed"))
    for group in ("model", "ema", "exp_avg", "exp_avg_sq"):
        for name, value in whole[group].items():
            assert torch.equal(value, killed[group][name]), (group, name)


def test_a_folder_of_another_run_is_refused(images, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"steps": 1}))
    with pytest.raises(ValueError, match="other settings"):
        train(images, CONFIG, tmp_path)


def test_beta_quantiles_against_the_closed_form():
    uniform = torch.tensor([0.01, 0.25, 0.5, 0.9])
    torch.testing.assert_close(beta_quantile(2.0, 1.0)(uniform), uniform.sqrt(), atol=2e-4, rtol=0)


def test_autoguidance_leads_away_from_the_weaker_model_inside_its_interval():
    good, weak = (lambda x, t, value=value: SimpleNamespace(sample=torch.full_like(x, value)) for value in (1.0, 0.5))
    guide = Autoguidance(good, weak, strength=3.0, interval=(100, 200, 500, 700))
    t = torch.tensor([50, 150, 300, 600, 900])
    expected = torch.tensor([1.0, 1.5, 2.0, 1.5, 1.0])  # 1 + (3 - 1) * inside * (1 - 0.5)
    torch.testing.assert_close(guide(torch.zeros(5, 1, 2, 2), t, torch.zeros(5, 1, 2, 2))[:, 0, 0, 0], expected)


def test_the_exact_teacher_speaks_at_high_noise_only():
    one, alpha_bar = torch.full((1, 1, 2, 2), 0.5), torch.full((1000,), 0.36)
    teacher = ExactAtHighNoise(one, alpha_bar, lambda x, t, noise: torch.full_like(x, 7.0))
    noise = torch.randn((3, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    told = teacher(0.6 * one + 0.8 * noise, torch.tensor([100, 550, 900]), noise)
    torch.testing.assert_close(told[1:], noise[1:])
    assert (told[0] == 7).all()


def test_a_taught_run_learns_what_the_teacher_says(images, tmp_path):
    config = TrainingConfig(unet=UNET, steps=150, batch_size=8, warmup=5, peak_rate=3e-3, constant_from=0.9, snapshots=2)
    train(images, config, tmp_path, save_every=50, teacher=lambda x, t, noise: torch.full_like(x, 0.25))
    losses = [float(line.split(",")[1]) for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert losses[-1] < 0.01  # the noise itself could not be learned to anywhere near this

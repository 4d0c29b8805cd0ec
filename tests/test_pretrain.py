"""Training that was killed goes on as if it had not been."""

import json

import pytest
import torch

from vdu.pretrain.ddpm import TrainingConfig, beta_quantile, load_state, train

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

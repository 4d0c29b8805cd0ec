"""Models retrained without a digit, and the distance of unlearned models from them."""

import dataclasses
import json
import shutil

import pytest
import torch
from conftest import QUICK
from diffusers import DDPMPipeline
from mnist_files import write_idx

from vdu.assets import ASSETS
from vdu.bench import likelihood, retrain
from vdu.bench.quality import Setting
from vdu.cli import main
from vdu.errors import UserError
from vdu.models import UNCONDITIONAL
from vdu.posterior import VARIANCE_FLOOR, checkpoints
from vdu.pretrain import retrained
from vdu.recipe import BY_KIND
from vdu.sampling import run_to_end
from vdu.task import open_model

SHIPPED = ASSETS / "mnist-ddpm"


@pytest.fixture
def idx(tmp_path):
    return write_idx(tmp_path / "idx")


def test_retraining_leaves_plain_folders_with_their_own_posterior(idx, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(retrained, "CONFIG", dataclasses.replace(retrained.CONFIG, batch_size=4))
    work, out = tmp_path / "work", tmp_path / "retrained"
    command = ["pretrain", "retrained", "--data", str(idx), "--steps", "12", "--work", str(work), "--out", str(out)]
    assert main([*command, "--without", "3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["with-all", "without-3"]
    weights = [DDPMPipeline.from_pretrained(folder, use_safetensors=True).unet.conv_in.weight for folder in out.iterdir()]
    assert not weights[0].equal(weights[1])
    assert (out / "without-3" / "posterior" / "variance.safetensors").is_file()

    assert main([*command, "--without", "3", "x"]) == 2
    assert "not 'x'" in capsys.readouterr().err


def test_originals_differ_by_their_seeds_and_their_variance_is_the_posterior_of_the_first(idx, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(retrained, "CONFIG", dataclasses.replace(retrained.CONFIG, batch_size=4))
    work, out = tmp_path / "work", tmp_path / "originals"
    command = ["pretrain", "originals", "--data", str(idx), "--steps", "10", "--work", str(work), "--out", str(out)]
    assert main([*command, "--seeds", "5", "5"]) == 2
    assert "a variance needs two models" in capsys.readouterr().err
    assert main([*command, "--seeds", "5", "2"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["independent", "seed-2", "seed-5"]
    models = {folder.name: open_model(str(folder), "cpu")[0] for folder in out.iterdir()}
    for model in models.values():
        model.train_only("all")
    first, second, chosen = (models[name].unet.conv_in.weight.detach() for name in ("seed-5", "seed-2", "independent"))
    assert chosen.equal(first)
    assert not first.equal(second)
    found = run_to_end(checkpoints(models["independent"]))
    variance = (first - second).square() / 2  # of two numbers
    floored = variance.clamp(min=VARIANCE_FLOOR * variance.mean().item())
    torch.testing.assert_close(found.variance["conv_in.weight"], floored, rtol=0.01, atol=1e-12)  # stored in bfloat16
    assert found.mean["conv_in.weight"].equal(first)
    assert not run_to_end(checkpoints(models["seed-5"])).variance["conv_in.weight"].equal(found.variance["conv_in.weight"])


def test_a_model_is_no_further_from_itself_than_two_draws_are(tmp_path, monkeypatch, capsys):
    for name in ("with-all", "without-3"):
        for part in ("unet", "scheduler", "model_index.json"):
            (shutil.copytree if (SHIPPED / part).is_dir() else shutil.copy)(SHIPPED / part, make(tmp_path / name) / part)
    quick = {name: value for name, value in QUICK.items() if name not in ("model", "forget", "seed", "samples")}
    monkeypatch.setattr(retrain, "SETTINGS", {"quick": Setting("quick", quick)})
    monkeypatch.setattr(retrain, "UNLEARNED", ("quick",))
    monkeypatch.setattr(retrain, "EXPLAINED", 4)
    monkeypatch.setitem(BY_KIND[UNCONDITIONAL], "sampler_steps", 4)
    monkeypatch.setattr(likelihood, "TIMES", 1)
    lines = []
    retrain.retrained(tmp_path, [0], 50, tmp_path / "rows.json", lines.append)
    rows = {row["model"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert len(lines) == len(rows) == 4
    assert rows["retrained without it"]["distance"] == pytest.approx(0, abs=1e-6)
    assert rows["the same, other seeds"]["distance"] > 0.1
    assert rows["the same, other seeds"]["share_tv"] > 0
    assert rows["quick"]["forget"] == "3"
    for name in ("retrained without it", "the same, other seeds", "with all ten, untouched"):  # all are the same weights here
        assert [rows[name][key] for key in retrain.LOSSES] == [0, 0, 0]
    assert rows["quick"]["loss_on_class"] != 0
    printed = capsys.readouterr().out
    assert "| with all ten, untouched | 1 × 50 |" in printed
    assert "+0.0% [+0.0%, +0.0%]" in printed

    monkeypatch.setattr(retrain, "run_recipe", None)  # another run would fail
    retrain.retrained(tmp_path, [0], 50, tmp_path / "rows.json", lines.append)
    assert capsys.readouterr().out == printed


def test_a_method_that_does_not_fit_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    for name in ("with-all", "without-3"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="Method uce cannot be used"):
        retrain.retrained(tmp_path, [0], 50, tmp_path / "rows.json", print, ["vdu-f", "uce"])
    with pytest.raises(UserError, match="leaves the weights as they are"):
        retrain.retrained(tmp_path, [0], 50, tmp_path / "rows.json", print, ["dng"])


def test_a_folder_without_retrained_models_is_refused(tmp_path):
    with pytest.raises(UserError, match="pretrain retrained"):
        retrain.retrained(tmp_path, [0], 50, tmp_path / "rows.json", print)
    assert not list(tmp_path.iterdir())


def make(folder):
    folder.mkdir(exist_ok=True)
    return folder

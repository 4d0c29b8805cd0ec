"""Training of models of photographs: from an archive of pictures, with a calibrated judge."""

import json
from argparse import Namespace
from dataclasses import replace
from unittest import mock

import pytest
import torch
from archives import archive_of
from diffusers import DDPMPipeline

from vdu.assets import ASSETS
from vdu.errors import UserError
from vdu.judges.classifier import Classifier
from vdu.metrics import load_statistics
from vdu.metrics.reference import SECOND, Reference
from vdu.models import load_model
from vdu.noised_classifier import shipped
from vdu.posterior import checkpoints
from vdu.pretrain import noised, photographs
from vdu.pretrain.ddpm import TrainingConfig, steps_in
from vdu.sampling import run_to_end


def test_everything_is_made_from_an_archive(tmp_path, monkeypatch):
    monkeypatch.setitem(photographs.KINDS, "cifar10", photographs.Kind(32, (8, 64), 1, 4, 12, 16))
    monkeypatch.setattr(photographs, "JUDGE_WIDTH", 8)
    monkeypatch.setattr(photographs, "SECOND_WIDTH", 8)
    monkeypatch.setattr(photographs, "MEASURED", 25)
    monkeypatch.setattr(noised, "IMAGES", 12)
    monkeypatch.setattr(noised, "NOISINGS", 1)
    rounds = {name: TrainingConfig(unet={}, steps=12, batch_size=4, warmup=2, flip=True) for name in ("first", "second")}
    monkeypatch.setattr(photographs, "ROUNDS", rounds)
    told = {
        "what": "cifar10",
        "teacher": None,
        "work": tmp_path / "work",
        "out": tmp_path / "out",
        "steps": 10,
        "minutes": None,
    }
    photographs.pretrain(Namespace(data=archive_of(tmp_path / "a.tar", 32), **told))
    out = tmp_path / "out"
    assert DDPMPipeline.from_pretrained(out, use_safetensors=True).unet.config.sample_size == 32
    assert load_model(out).image_shape == (3, 32, 32)
    figures = json.loads((out / "figures.json").read_text())
    assert figures["steps"] == {"first": 10, "second": 10}
    assert figures["classifier_accuracy"] == 1  # colours are easy
    assert set(load_statistics(out / "statistics.safetensors")) == {"red", "green", "blue"}
    assert load_statistics(out / "statistics.safetensors")["red"].count == 4  # of the 32 pictures, the last are held out
    judge, reference = Reference(out).second
    assert judge.axes == {"class": ("blue", "green", "red")}
    assert reference.statistics["red"].count == 4
    assert figures["second_accuracy"] == json.loads((out / SECOND / "figures.json").read_text())["classifier_accuracy"]
    assert "A second judge" in (out / "README.md").read_text()
    assert (out / "drawn" / "red.png").is_file()
    assert "| " not in (out / "README.md").read_text()
    assert shipped(load_model(out), ["green"]).concept.tolist() == [False, True, False]
    assert "on held-out samples, mean over the classes" in (out / "README.md").read_text()
    with pytest.raises(UserError, match="--data"):
        photographs.pretrain(Namespace(data=None, **told))

    monkeypatch.setattr(photographs, "SHARPENED", replace(rounds["second"], snapshots=2))
    again = told | {"work": tmp_path / "more", "out": tmp_path / "sharp", "teacher": out}
    photographs.pretrain(Namespace(data=tmp_path / "a.tar", **again))
    sharp = json.loads((tmp_path / "sharp" / "figures.json").read_text())
    assert sharp["steps"] == {"first": 10, "second": 10, "sharpened": 10}
    assert sharp["fid_unsharpened"] == figures["fid"]
    assert (tmp_path / "sharp" / "classifier" / "model.safetensors").read_bytes() == (
        out / "classifier" / "model.safetensors"
    ).read_bytes()
    before, after = (run_to_end(checkpoints(load_model(folder))) for folder in (out, tmp_path / "sharp"))
    weights = [(folder / SECOND / "classifier" / "model.safetensors").read_bytes() for folder in (out, tmp_path / "sharp")]
    assert weights[0] == weights[1]  # it came along
    moved = [(after.mean[name] - value).abs().max() for name, value in before.mean.items()]
    assert 0 < max(moved) < 0.1  # it went on from there
    assert "10 steps of 4 pictures towards its own predictions" in (tmp_path / "sharp" / "README.md").read_text()
    (out / "figures.json").unlink()
    with pytest.raises(UserError, match=r"no figures\.json"):
        photographs.pretrain(Namespace(data=tmp_path / "a.tar", **again))


def test_a_model_is_guided_away_from_itself_with_noise_on_its_weights(monkeypatch):
    model = load_model(ASSETS / "mnist-ddpm")
    noisy, t = torch.randn((2, 1, 28, 28), generator=torch.Generator().manual_seed(0)), torch.tensor([20, 300])
    with torch.no_grad():
        plain = model.unet(noisy, t).sample
    guided = photographs.sharpening(model)(noisy, t, noisy)
    torch.testing.assert_close(guided[0], plain[0])  # below the interval
    assert (guided[1] - plain[1]).abs().max() > 0.01
    monkeypatch.setattr(photographs, "WEAKENED", 0.0)
    torch.testing.assert_close(photographs.sharpening(model)(noisy, t, noisy), plain)


def test_a_judge_starts_from_another_one_whose_pictures_were_smaller(tmp_path):
    torch.manual_seed(1)
    first = Classifier(["a", "b"], channels=3, size=32, width=photographs.JUDGE_WIDTH, residual=True)
    first.save(tmp_path)
    kind = photographs.Kind(64, (), 0, 0, epochs=1, judge_batch=4, judge_starts=tmp_path)
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with mock.patch.object(photographs, "JUDGE_RATE", 1e-9):
        judge = photographs.train_judge(images, torch.arange(4) % 3, ["x", "y", "z"], kind, "cpu")
    torch.testing.assert_close(judge.features[0].weight, first.features[0].weight, atol=1e-3, rtol=0)
    assert judge.head.out_features == 3


def test_calibration_takes_the_doubt_away_that_the_pictures_do_not_give():
    judge = Classifier(["a", "b"], channels=3, size=32, width=4, residual=True).eval()
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    before, _ = judge.judge(images)
    labels = before.argmax(1)  # always right, so it cannot be too sure
    after, _ = photographs.calibrate(judge, images, labels).judge(images)
    torch.testing.assert_close(after.log().diff(dim=1), before.log().diff(dim=1) / min(photographs.TEMPERATURES))


def test_as_many_steps_as_the_minutes_allow(monkeypatch):
    network, now = torch.nn.Linear(1, 1), iter(range(100))
    monkeypatch.setattr("vdu.pretrain.ddpm.time.monotonic", lambda: next(now))
    losses = lambda random: (network(torch.ones(1, 1)).sum(),) * 2  # noqa: E731
    weight = network.weight.clone()
    assert steps_in(2, network, losses, "cpu", timed=10) == int(120 / (1.06 * 0.1))  # ten steps took a second
    assert torch.equal(network.weight, weight)
    assert network.weight.grad is None

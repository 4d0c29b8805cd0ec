"""What comes out is what went in, but for the trained weights."""

import filecmp
import json
import shutil

import pytest
import torch
from diffusers import DDPMPipeline, StableDiffusionPipeline, UniPCMultistepScheduler
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from dummies import WEIGHTS, dummy_ddpm, dummy_stable_diffusion
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessorPil

from vdu.errors import UserError
from vdu.models import load_model

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def files_of(folder):
    """The paths of all files in a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def changed(model):
    """Train a little: adds a thousandth to every trained parameter."""
    model.train_only("all")
    with torch.no_grad():
        for value in model.trained.values():
            value += 1e-3
    return model


def test_a_file_that_vanishes_is_named_and_leaves_no_model(tmp_path):
    folder = dummy_ddpm(tmp_path / "ddpm")
    model = load_model(folder)
    (folder / "model_index.json").unlink()
    with pytest.raises(UserError, match=r"'model_index.json' of the model in '.*ddpm' has vanished during the run"):
        model.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def differing(before, after):
    """Paths of the files in which two folders differ; both must have the same files."""
    assert files_of(before) == files_of(after)
    return set(filecmp.cmpfiles(before, after, files_of(before), shallow=False)[1])


def test_the_parts_that_are_not_trained_stay_as_they_are(tmp_path):
    folder = dummy_stable_diffusion(tmp_path / "sd")
    config = CLIPConfig(text_config=SMALL, vision_config=SMALL | {"image_size": 16, "patch_size": 8}, projection_dim=12)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.register_modules(
        scheduler=UniPCMultistepScheduler.from_config(pipeline.scheduler.config, solver_order=3),
        safety_checker=StableDiffusionSafetyChecker(config),
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )
    pipeline.save_pretrained(tmp_path / "own")
    (tmp_path / "own" / "LICENSE").write_text("Be kind.")
    changed(load_model(tmp_path / "own")).save(tmp_path / "saved")
    assert differing(tmp_path / "own", tmp_path / "saved") == {f"unet/{WEIGHTS}"}
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert type(again.scheduler) is UniPCMultistepScheduler
    assert again.scheduler.config.solver_order == 3
    first, second = (load_file(place / "unet" / WEIGHTS) for place in (tmp_path / "own", tmp_path / "saved"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value + 1e-3)


@pytest.mark.parametrize(
    "saving", [{"variant": "fp16"}, {"max_shard_size": "10KB"}, {"variant": "fp16", "max_shard_size": "10KB"}], ids=str
)
def test_weights_come_out_in_the_files_they_came_in(saving, tmp_path):
    pipeline = DDPMPipeline.from_pretrained(dummy_ddpm(tmp_path / "whole"))
    pipeline.unet.to(torch.float16 if "variant" in saving else torch.float32)
    pipeline.save_pretrained(tmp_path / "own", **saving)
    model = changed(load_model(tmp_path / "own"))
    model.round_to_files()
    model.save(tmp_path / "saved")
    weights = {path for path in files_of(tmp_path / "own") if path.endswith(".safetensors")}
    assert differing(tmp_path / "own", tmp_path / "saved") == weights
    again = load_model(tmp_path / "saved")
    torch.testing.assert_close(again.unet.state_dict(), model.unet.state_dict(), rtol=0, atol=0)  # what was measured
    variant = {"variant": saving["variant"]} if "variant" in saving else {}
    plain = DDPMPipeline.from_pretrained(tmp_path / "saved", use_safetensors=True, **variant)
    torch.testing.assert_close(plain.unet.float().state_dict(), model.unet.state_dict(), rtol=0, atol=0)


def test_weights_in_a_format_that_cannot_be_changed_come_out_in_full(tmp_path):
    folder = dummy_ddpm(tmp_path / "own")
    weights = {name: value.to(torch.float8_e4m3fn) for name, value in load_file(folder / "unet" / WEIGHTS).items()}
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})
    model = changed(load_model(folder))
    model.save(tmp_path / "saved")
    torch.testing.assert_close(load_model(tmp_path / "saved").unet.state_dict(), model.unet.state_dict(), rtol=0, atol=0)


def test_every_precision_is_changed_and_other_weights_are_left_behind(tmp_path):
    folder = dummy_ddpm(tmp_path / "own")
    weights = load_file(folder / "unet" / WEIGHTS)
    half = {name: value.half() for name, value in weights.items()}
    save_file(half, folder / "unet" / WEIGHTS.replace(".safe", ".fp16.safe"), metadata={"format": "pt"})
    save_file(weights, folder / "unet" / WEIGHTS.replace(".safe", ".non_ema.safe"), metadata={"format": "pt"})
    changed(load_model(folder)).save(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved" / "unet").iterdir()}
    assert names == {"config.json", WEIGHTS, WEIGHTS.replace(".safe", ".fp16.safe")}
    full, small = (load_file(tmp_path / "saved" / "unet" / name) for name in (WEIGHTS, WEIGHTS.replace(".safe", ".fp16.safe")))
    for name, value in full.items():
        assert torch.equal(value.half(), small[name])
        assert not torch.equal(value, weights[name])


def test_attention_under_its_former_names_comes_out_under_the_present_ones(tmp_path):
    folder = dummy_ddpm(tmp_path / "own", at_root=True)
    weights = load_file(folder / WEIGHTS)
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        weights = {name.replace(f".{new}.", f".{old}."): value for name, value in weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model = changed(load_model(folder))
    model.save(tmp_path / "saved")
    assert files_of(tmp_path / "saved") == files_of(folder)
    torch.testing.assert_close(load_model(tmp_path / "saved").unet.state_dict(), model.unet.state_dict(), rtol=0, atol=0)


def test_a_part_that_is_only_there_as_a_pickle_is_left_out(tmp_path):
    folder = dummy_stable_diffusion(tmp_path / "sd")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"")
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")  # beside its safetensors: not passed on
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    load_model(folder).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/model_index.json").read_text())["safety_checker"] == [None, None]
    assert not [path for path in files_of(tmp_path / "saved") if path.endswith(".bin") or path.startswith("safety")]
    assert StableDiffusionPipeline.from_pretrained(tmp_path / "saved").safety_checker is None


def test_what_does_not_belong_to_the_model_stays_behind(tmp_path):
    folder = dummy_ddpm(tmp_path / "own")
    for name in ("notes.txt", "figures.json", "unet/train.py"):
        (folder / name).write_text("{}")
    shutil.copytree(folder / "unet", folder / "checkpoint-500")
    load_model(folder).save(tmp_path / "saved")
    assert files_of(tmp_path / "saved") == {
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", f"unet/{WEIGHTS}"}  # fmt: skip

"""Reading a folder: what is refused, and why."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from dummies import WEIGHTS, dummy_ddpm, dummy_stable_diffusion
from safetensors.torch import load_file, save_file

from vdu.errors import UserError
from vdu.models import FAMILIES, KINDS, kind_in, load_model


def test_attention_under_its_former_names_is_read(tmp_path):
    folder = dummy_ddpm(tmp_path / "old", at_root=True)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / WEIGHTS)
    for new, old in former.items():
        weights = {name.replace(f".{new}.", f".{old}."): value for name, value in weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    new = load_model(dummy_ddpm(tmp_path / "new", at_root=True))
    torch.testing.assert_close(load_model(folder).unet.state_dict(), new.unet.state_dict())


def test_a_model_of_another_kind_is_refused_by_its_reason(tmp_path):
    dummy_stable_diffusion(tmp_path / "wide", words=24)
    with pytest.raises(UserError, match="words of width 24"):
        load_model(tmp_path / "wide")
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text(
        json.dumps({"_class_name": "FluxPipeline", "scheduler": ["diffusers", "EulerDiscreteScheduler"]})
    )
    with pytest.raises(UserError, match="is a FluxPipeline, which cannot be unlearned; choose one of"):
        load_model(tmp_path / "flux")


def test_weights_that_are_not_all_there_are_refused(tmp_path):
    folder = dummy_ddpm(tmp_path / "model", at_root=True)
    weights = load_file(folder / WEIGHTS)
    del weights["conv_in.bias"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the parameters of its unet, such as conv_in\.bias"):
        load_model(folder)


def test_a_text_encoder_that_is_not_all_there_is_refused(tmp_path):
    folder = dummy_stable_diffusion(tmp_path / "sd")
    path = folder / "text_encoder/model.safetensors"
    weights = load_file(path)
    gone = next(name for name in weights if name.endswith("final_layer_norm.weight"))
    save_file({name: value for name, value in weights.items() if name != gone}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the parameters of its text_encoder, such as .*final_layer_norm\.weight"):
        load_model(folder)


def test_half_precision_is_loaded_in_full(tmp_path):
    folder = dummy_stable_diffusion(tmp_path / "sd")
    diffusers.StableDiffusionPipeline.from_pretrained(folder).to(torch.float16).save_pretrained(tmp_path / "half")
    model = load_model(tmp_path / "half")
    for part in (model.unet, model.vae, model.text_encoder):
        assert {value.dtype for value in part.parameters()} == {torch.float32}
    torch.testing.assert_close(model.unet.state_dict(), load_model(folder).unet.state_dict(), atol=1e-3, rtol=1e-3)


def test_every_family_is_one_of_diffusers_and_says_what_it_is():
    assert {"DDPMPipeline", "DDIMPipeline", "StableDiffusionPipeline"} <= FAMILIES.keys()
    for pipeline, family in FAMILIES.items():
        assert hasattr(diffusers, pipeline)
        assert "unet" in family.PARTS
    for folder in Path("assets").iterdir():
        if (folder / "model_index.json").is_file():
            assert kind_in(folder) in KINDS

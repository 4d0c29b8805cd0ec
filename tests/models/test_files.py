"""Which files hold the weights of a part."""

import json

import pytest

from vdu.errors import UserError
from vdu.models.files import check_weights, choose, components, files_to_fetch, weight_sets

NET = "diffusion_pytorch_model"
SHARDS = (f"{NET}-00001-of-00002.safetensors", f"{NET}-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("names", "variants"),
    [
        ([f"{NET}.safetensors", "config.json"], {""}),
        (["model.fp16.safetensors", "model.fp16.bin"], {"fp16"}),
        ([*SHARDS, f"{NET}.safetensors.index.json"], {""}),
        ([*SHARDS], set()),  # shards without their index are of no use
        ([f"{NET}.fp16-00001-of-00001.safetensors", f"{NET}.safetensors.index.fp16.json"], {"fp16"}),
        (
            [f"{NET}-00001-of-00001.fp16.safetensors", f"{NET}.safetensors.index.fp16.json"],
            {"fp16"},
        ),  # as diffusers named them
        ([f"{NET}.safetensors", f"{NET}.non_ema.safetensors"], {"", "non_ema"}),
        ([f"{NET}.bin", "flax_model.msgpack", "v1-5-pruned.safetensors"], set()),
    ],
)
def test_variants_are_told_by_their_names(names, variants):
    sets = weight_sets(names)
    assert sets.keys() == variants
    assert {name for files in sets.values() for name in files} <= set(names)


@pytest.mark.parametrize(
    ("variants", "chosen"),
    [({"", "fp16"}, ""), ({"fp16", "bf16"}, "bf16"), ({"mine"}, "mine"), ({"mine", "fp16"}, "fp16"), ({"a", "b"}, None)],
)
def test_the_most_precise_variant_is_chosen(variants, chosen):
    assert choose(variants) == chosen


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
    "requires_safety_checker": True,
}


def test_parts_that_are_null_are_none():
    assert components(INDEX).keys() == {"unet", "text_encoder", "safety_checker"}


def test_of_a_repository_one_variant_of_every_part_is_fetched_and_no_pickle():
    names = [
        "README.md", "v1-5-pruned.safetensors", "unet/config.json", f"unet/{NET}.safetensors", f"unet/{NET}.fp16.safetensors",
        f"unet/{NET}.bin", "text_encoder/config.json", "text_encoder/model.fp16.safetensors", "safety_checker/config.json",
        "safety_checker/model.safetensors", "safety_checker/pytorch_model.bin", "tokenizer/vocab.json", "unet/code.py",
    ]  # fmt: skip
    assert sorted(files_to_fetch(INDEX, names)) == [
        "safety_checker/config.json", "safety_checker/model.safetensors", "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors", "unet/config.json", f"unet/{NET}.safetensors",
    ]  # fmt: skip
    at_root = ["config.json", "model_index.json", *SHARDS, f"{NET}.safetensors.index.json", f"{NET}.bin"]
    assert set(files_to_fetch({"unet": ["diffusers", "UNet2DModel"]}, at_root)) == set(at_root) - {f"{NET}.bin"}


def test_a_shard_that_is_not_there_is_named(tmp_path):
    unet = tmp_path / "unet"
    unet.mkdir()
    (unet / SHARDS[0]).touch()
    (unet / f"{NET}.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}))
    with pytest.raises(UserError, match=rf"lacks unet/{SHARDS[1]}, which {NET}.safetensors.index.json names; fetch"):
        check_weights(unet, tmp_path, "")
    (unet / f"{NET}.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match="is not an index of shards"):
        check_weights(unet, tmp_path, "")


def test_of_two_unknown_variants_none_is_taken(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{NET}.{name}.safetensors").touch()
    with pytest.raises(UserError, match="in 2 variants, a, b; keep the one to use"):
        check_weights(tmp_path, tmp_path, "")

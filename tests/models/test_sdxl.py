"""Stable Diffusion XL with random weights: compared with plain diffusers, and in a full run."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import QUICK
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from dummies import TOKENS, WEIGHTS, dummy_clip, text_config
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from vdu.bench import random_models
from vdu.cli import main
from vdu.concepts.base import ConceptRequest
from vdu.concepts.prompt import PromptConcept
from vdu.errors import UserError
from vdu.methods import METHODS, Prompts
from vdu.models import FULL_SIZE, SMALL, load_model
from vdu.models.sdxl import StableDiffusionXL
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.task import kind_of, open_model

PROMPTS = ["a cat", "", "a dog on a mat", None]


def dummy_sdxl(folder, size=8, force_zeros=True, **changes):
    """Write, with plain diffusers, a model with 16×16 images and text encoders of widths 16 and 24."""
    torch.manual_seed(0)
    tokenizer, _ = (random_models.tokenizer(folder / name, TOKENS) for name in ("letters", "letters-2"))
    other = CLIPTokenizer(
        str(folder / "letters-2" / "vocab.json"), str(folder / "letters-2" / "merges.txt"), model_max_length=40, pad_token="a"
    )
    first = text_config(tokenizer) | {"num_hidden_layers": 3}
    second = first | {"hidden_size": 24, "projection_dim": 12, "pad_token_id": other.pad_token_id, "hidden_act": "gelu"}
    network = {
        "sample_size": size,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 16 + 24,
        "attention_head_dim": 4,
        "transformer_layers_per_block": (1, 2),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 12,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**first)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**second)),
        tokenizer=tokenizer,
        tokenizer_2=other,
        unet=UNet2DConditionModel(**network | changes),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading", steps_offset=1
        ),
        force_zeros_for_empty_prompt=force_zeros,
        add_watermarker=False,
    ).save_pretrained(folder / "xl", safe_serialization=True)
    return folder / "xl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return dummy_sdxl(tmp_path_factory.mktemp("sdxl"))


def plain(folder):
    """The same folder in plain diffusers."""
    return StableDiffusionXLPipeline.from_pretrained(folder, use_safetensors=True, add_watermarker=False)


@pytest.mark.parametrize("force_zeros", [True, False])
def test_conditions_are_those_of_diffusers(force_zeros, tmp_path):
    folder = dummy_sdxl(tmp_path, force_zeros=force_zeros)
    model, pipeline = load_model(folder), plain(folder)
    assert model.force_zeros_for_empty_prompt == force_zeros
    assert model.tokenizer_2.pad_token_id == pipeline.tokenizer_2.pad_token_id != model.tokenizer.pad_token_id
    condition = model.conditions(PROMPTS)
    with torch.no_grad():
        tokens, no_tokens, pooled, no_pooled = pipeline.encode_prompt(["a cat", "a dog on a mat"], device="cpu")
    torch.testing.assert_close(condition.rows([0, 2])["tokens"], tokens)
    torch.testing.assert_close(condition.rows([0, 2])["pooled"], pooled)
    for row, prompt in enumerate(PROMPTS):
        if prompt is None:  # what guidance starts from
            torch.testing.assert_close(condition.rows([row])["tokens"], no_tokens[:1])
            torch.testing.assert_close(condition.rows([row])["pooled"], no_pooled[:1])
            assert bool(condition.rows([row])["tokens"].any()) != force_zeros
    expected = pipeline._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, 12)
    assert torch.equal(condition["time_ids"], expected.repeat(4, 1))


def test_it_predicts_and_draws_what_plain_diffusers_does(folder):
    model, pipeline = load_model(folder), plain(folder)
    noisy, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([30, 600])
    condition = model.conditions(["a cat", None])
    with torch.no_grad():
        added = {"text_embeds": condition["pooled"], "time_ids": condition["time_ids"]}
        known = pipeline.unet(noisy, t, condition["tokens"], added_cond_kwargs=added).sample
        torch.testing.assert_close(model.predict_noise(noisy, t, condition), known, atol=0.02, rtol=0.02)
        # Each of the three has a say: the tokens, the pooled embedding, and the size.
        for name, value in condition.tensors.items():
            other = replace(condition, tensors=condition.tensors | {name: value + 1})
            assert (model.predict_noise(noisy, t, other) - model.predict_noise(noisy, t, condition)).abs().max() > 1e-3
    pictures = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        latents = pipeline.vae.encode(pictures / 127.5 - 1).latent_dist.mean * 0.13025
        torch.testing.assert_close(model.encode(pictures), latents, atol=0.02, rtol=0.02)
    seeds = image_seeds(0, 4)
    images = run_to_end(sample(model, seeds, HowToSample(3, "ode", 3.0), PROMPTS))
    assert images.shape == (4, 3, 16, 16)
    assert torch.equal(images, run_to_end(sample(load_model(folder), seeds, HowToSample(3, "ode", 3.0), PROMPTS)))


def test_a_prompt_concept_is_unlearned_and_plain_diffusers_draws_with_what_is_left(folder, tmp_path):
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    (tmp_path / "pictures").mkdir()
    Image.linear_gradient("L").save(tmp_path / "pictures" / "cat.png")
    given = [
        "--model",
        str(folder),
        "--forget",
        "a [cat]",
        "--keep",
        "a dog; a tree",
        "--judge",
        str(dummy_clip(tmp_path / "clip")),
    ]
    out = ["--pictures", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    assert main(["unlearn", *given, *flags, *out]) == 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["recipe"]["parameters"] == "cross-attention"
    before, after = (load_file(path / "unet" / WEIGHTS) for path in (folder, tmp_path / "run/unlearned"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".attn2." in name for name in changed)
    pipeline = plain(tmp_path / "run/unlearned")
    assert pipeline("a dog", num_inference_steps=2, output_type="np").images[0].shape == (16, 16, 3)
    for part in ("text_encoder", "text_encoder_2", "vae"):
        first, second = (getattr(plain(where), part).state_dict() for where in (folder, tmp_path / "run/unlearned"))
        torch.testing.assert_close(first, second)
    again, _, _ = open_model(str(tmp_path / "run"), "cpu")
    assert isinstance(again, StableDiffusionXL)


def test_its_cross_attention_is_solved_from_the_tokens_of_both_encoders(folder):
    model = load_model(folder)
    model.train_only("cross-attention")
    concept = PromptConcept.of("x", ConceptRequest("a [cat] on a mat", ("a dog", "a tree")), (), names_kept=True)
    prompts = Prompts(model, concept.rewritings, concept.prompts_to_keep, 0.9, 1.0)
    terms, weights = METHODS["uce"].solve(prompts)
    assert 0 < terms.stability < terms.plasticity
    assert {name.rpartition("attn2.")[2] for name in weights} == {"to_k.weight", "to_v.weight"}
    assert all(value.shape[1] == 16 + 24 and value.isfinite().all() for value in weights.values())


def test_its_kind_follows_from_the_size(folder, tmp_path):
    assert kind_of(str(folder)) == SMALL
    assert kind_of(str(dummy_sdxl(tmp_path, size=32))) == FULL_SIZE


def test_a_large_one_is_held_in_half_and_saved_in_full(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    folder = dummy_sdxl(tmp_path, size=32)
    model = load_model(folder)
    assert {value.dtype for value in model.unet.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.text_encoder_2.parameters()} == {torch.bfloat16}
    model.train_only("cross-attention")
    states, t = torch.randn(2, *model.shape), torch.tensor([10, 500])
    model.predict_noise(states, t, model.conditions(["a dog", None])).square().mean().backward()
    model.save(tmp_path / "saved")
    first, second = (load_file(path / "unet" / WEIGHTS) for path in (folder, tmp_path / "saved"))
    torch.testing.assert_close(first, second)


def test_settings_of_the_folder_survive(tmp_path):
    folder = dummy_sdxl(tmp_path, force_zeros=False)
    load_model(folder).save(tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert not again.force_zeros_for_empty_prompt
    torch.testing.assert_close(again.unet.state_dict(), load_model(folder).unet.state_dict(), rtol=0, atol=0)
    assert isinstance(again.scheduler, EulerDiscreteScheduler)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cross_attention_dim": 16}, "words of width 16, its other parts give 4 and 40"),
        ({"addition_embed_type": None, "projection_class_embeddings_input_dim": None}, "no pooled embedding and image size"),
        (
            {"projection_class_embeddings_input_dim": 40},
            "added embedding of width 40, and .* gives 36",
        ),
        ({"time_cond_proj_dim": 8}, "takes another input besides the prompt .time_cond_proj_dim"),
        ({"in_channels": 9}, "takes 9 channels"),
    ],
)
def test_what_cannot_work_is_refused_by_its_reason(changes, message, tmp_path):
    folder = dummy_sdxl(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["text_encoder_2/model.safetensors", f"unet/{WEIGHTS}"])
def test_missing_weights_are_named(part, tmp_path):
    folder = dummy_sdxl(tmp_path)
    (folder / part).rename((folder / part).with_suffix(".bin"))
    with pytest.raises(
        UserError, match=rf"has no weights in {Path(part).parent}/\*.safetensors, and weights in other formats are not loaded"
    ):
        load_model(folder)


def test_a_second_encoder_without_its_projection_is_refused(tmp_path):
    folder = dummy_sdxl(tmp_path)
    encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder_2"))
    encoder.save_pretrained(folder / "text_encoder_2")
    with pytest.raises(UserError, match=r"lacks 1 of the parameters of its text_encoder_2, such as text_projection\.weight"):
        load_model(folder)


def test_clones_share_all_but_the_network(folder):
    model = load_model(folder)
    model.train_only("cross-attention")
    copy = model.clone()
    shared = {item.name for item in fields(model) if getattr(copy, item.name) is getattr(model, item.name)}
    assert shared == {item.name for item in fields(model)} - {"unet"}

"""Training of the text-to-image model of photographs."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from archives import archive_of
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from vdu.catalog import CIFAR10
from vdu.errors import UserError
from vdu.judges.classifier import Classifier
from vdu.pretrain import cifar10_sd
from vdu.pretrain.latent_diffusion import make_tokenizer, small_design


def captions(count):
    """Captions of cats."""
    random = np.random.default_rng(0)
    return Counter(cifar10_sd.caption("cat", random) for _ in range(count))


def test_captions_name_the_class_in_every_phrase_or_now_and_then_nothing():
    found = captions(4000)
    named = {phrase.format(**{"class": word}) for phrase in (*cifar10_sd.PHRASES, *cifar10_sd.UNHEARD)
             for word in ("a cat", "a kitten")}  # fmt: skip
    assert {*found} == named | {cifar10_sd.NEUTRAL}
    assert found[cifar10_sd.NEUTRAL] / 4000 == pytest.approx(cifar10_sd.NO_CLASS, abs=0.02)
    kittens = sum(count for caption, count in found.items() if "kitten" in caption)
    assert kittens / 4000 == pytest.approx((1 - cifar10_sd.NO_CLASS) * cifar10_sd.OTHER_WORD, abs=0.03)


def test_every_class_is_a_word_of_its_own_for_the_tokenizer():
    assert tuple(cifar10_sd.CLASSES) == CIFAR10
    tokenizer = make_tokenizer(cifar10_sd.DESIGN)
    others = [word for words in cifar10_sd.CLASSES.values() for word in words]
    assert len({*CIFAR10, *others}) == len(CIFAR10) + len(others)
    assert all(len(tokenizer(word).input_ids) == 3 for word in (*CIFAR10, *others))
    longest = max((*cifar10_sd.UNHEARD, *cifar10_sd.PHRASES), key=len).format(**{"class": "an airplane"})
    assert len(tokenizer(longest).input_ids) <= cifar10_sd.DESIGN.length


def test_the_perceptual_loss_grows_with_the_damage_and_has_a_gradient():
    torch.manual_seed(0)
    loss = cifar10_sd.Perceptual(Classifier(["a", "b"], 3, 32, 8).eval())
    assert len(loss.layers) == cifar10_sd.LAYERS
    shown, noise = torch.rand(2, 4, 3, 32, 32).mul(2).sub(1)
    assert loss(shown, shown) == 0
    drawn = (shown + 0.1 * noise).requires_grad_()
    little, much = loss(drawn, shown), loss(shown + 0.5 * noise, shown)
    assert 0 < little < much
    little.backward()
    assert drawn.grad.abs().max() > 0
    assert not any(value.requires_grad for value in loss.parameters())


def test_everything_is_made_from_an_archive(tmp_path, monkeypatch):
    design = small_design((8, 8, 8), latents=4, unet=(16, 16), groups=2, words=cifar10_sd.vocabulary())
    monkeypatch.setattr(cifar10_sd, "DESIGN", design)
    stages = {name: replace(stage, batch_size=4, snapshots=2) for name, stage in cifar10_sd.STAGES.items()}
    stages["denoiser"] = replace(stages["denoiser"], unet=design.unet)
    monkeypatch.setattr(cifar10_sd, "STAGES", stages)
    monkeypatch.setattr(cifar10_sd, "DRAWN", 3)
    told = {"what": "cifar10-sd", "work": tmp_path / "work", "out": tmp_path / "out", "steps": 10}
    with pytest.raises(UserError, match="--data"):
        cifar10_sd.pretrain(SimpleNamespace(data=None, **told))
    with pytest.raises(UserError, match="has other classes than airplane"):
        cifar10_sd.pretrain(SimpleNamespace(data=archive_of(tmp_path / "b.tar", 1, parts=("train", "test")), **told))
    colours = dict(zip(CIFAR10, ["red", "green", "blue", "navy", "grey"] * 2, strict=True))
    archive = archive_of(tmp_path / "a.tar", 2, colours, ("train", "test"))
    cifar10_sd.pretrain(SimpleNamespace(data=archive, **told))
    out = tmp_path / "out"
    pipeline = StableDiffusionPipeline.from_pretrained(out, use_safetensors=True)
    assert pipeline.vae.config.latent_channels == 4
    figures = json.loads((out / "figures.json").read_text())
    assert (figures["samples"], figures["steps"]) == (30, {"autoencoder": 10, "denoiser": 10})
    assert 0 <= figures["right_ci95"][0] <= figures["right"] <= figures["right_ci95"][1] <= 1
    assert {name for name in load_file(out / "posterior" / "variance.safetensors") if ".attn2." not in name} == set()
    assert {path.stem for path in (out / "drawn").iterdir()} == {*CIFAR10}
    card = (out / "README.md").read_text()
    assert '"a photo of a cat"' in card
    assert "10 steps of 4" in card

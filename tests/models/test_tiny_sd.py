"""The shipped tiny Stable Diffusion: its words, its latents, and how copies of it share weights."""

import json
import re

import pytest
import torch

from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.models import load_model
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.task import open_model, sample_prompts

ENTRY = CATALOG["tiny-sd"]


@pytest.fixture(scope="module")
def model():
    return open_model("tiny-sd", "cpu")[0]


def test_every_word_is_one_token(model):
    words = {word for prompt in sample_prompts("tiny-sd", model) for word in re.findall(r"[a-z]+", prompt)}
    assert all(len(model.tokenizer(word).input_ids) == 3 for word in words)
    assert len(model.tokenizer("a photo of an orange t-shirt on a black background").input_ids) <= 16


def test_models_of_one_name_share_what_they_do_not_train():
    untouched, mine, other = (open_model("tiny-sd", "cpu")[0] for _ in range(3))
    mine.train_only("cross-attention")
    other.train_only("cross-attention")
    with torch.no_grad():
        for value in mine.trained.values():
            value += 1
    places = [{name: value.data_ptr() for name, value in model.unet.named_parameters()} for model in (untouched, mine, other)]
    for name, value in untouched.unet.named_parameters():
        trained = ".attn2." in name
        assert len({place[name] for place in places}) == (3 if trained else 1)
        torch.testing.assert_close(dict(mine.unet.named_parameters())[name], value + trained)
        torch.testing.assert_close(dict(other.unet.named_parameters())[name].detach(), value)


def test_what_is_told_of_a_prompt_depends_on_it_alone(model):
    alone, among = model.conditions(["red sneaker"]), model.conditions(["blue bag", "red sneaker", ""])
    torch.testing.assert_close(alone["tokens"][0], among["tokens"][1])
    assert (among["tokens"][0] - among["tokens"][1]).abs().max() > 0.1
    assert torch.equal(model.conditions([None])["tokens"], model.conditions([""])["tokens"])


def test_latents_are_standard_and_decode_to_the_picture(model):
    images = ENTRY.pictures.examples("bag")
    latents = model.encode(images)
    assert latents.shape == (len(images), *model.shape)
    assert 0.3 < latents.std() < 2
    assert (model.decode(latents).int() - images.int()).abs().float().mean() < 12


def test_guidance_of_one_is_the_prompt_alone_and_image_k_does_not_depend_on_the_count(model):
    prompts = ["a photo of a red sneaker", "a photo of a blue bag"] * 2
    plain, guided = (run_to_end(sample(model, image_seeds(1, 4), HowToSample(3, "sde", w), prompts)) for w in (1.0, 3.0))
    fewer = run_to_end(sample(model, image_seeds(1, 2), HowToSample(3, "sde", 3.0), prompts[:2]))
    assert plain.shape == (4, 3, 32, 32)
    assert (plain.int() - guided.int()).abs().float().mean() > 1
    assert (guided[:2].int() - fewer.int()).abs().float().mean() < 2


def test_a_folder_without_its_parts_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"]})
    )
    with pytest.raises(UserError, match=r"has no unet, without which a Stable Diffusion model cannot draw"):
        load_model(tmp_path)

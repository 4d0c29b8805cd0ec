"""Models from the hub that take no words: where their files lie, what is refused, and what the page offers for them."""

import json
import shutil

import gradio as gr
import pytest
import torch
from conftest import QUICK
from diffusers import DDPMPipeline
from dummies import dummy_ddpm, dummy_stable_diffusion
from PIL import Image
from safetensors.torch import load_file, save_file

from vdu import hub
from vdu.catalog import CATALOG, entry_of, kind_of, open_model
from vdu.cli import main
from vdu.entries import Words
from vdu.errors import UserError
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, WEIGHTS, load_model
from vdu.page.controls import Controls, recipe_of
from vdu.page.settings import Settings
from vdu.recipe import Recipe

GOOGLE = "google/ddpm-cifar10-32"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The folder that every name on the hub stands for; the patterns that were asked for are in `asked`."""
    folder = tmp_path / "snapshot"

    def fetch(name, allow_patterns):
        repository.asked = allow_patterns
        return str(folder)

    repository = type("Repository", (), {"folder": folder, "asked": None})
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    return repository


@pytest.mark.parametrize("at_root", [True, False])
def test_a_ddpm_is_loaded_wherever_its_files_lie(at_root, repository):
    dummy_ddpm(repository.folder, at_root=at_root)
    assert (repository.folder / "unet").is_dir() != at_root
    model, entry = open_model(GOOGLE, "cpu", Words("frog"))
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in repository.asked)
    assert WEIGHTS in repository.asked
    assert entry.name == entry_of(GOOGLE).name == "cifar10-ddpm"
    known = DDPMPipeline.from_pretrained(repository.folder, use_safetensors=True).unet
    noisy, t = torch.randn(2, 3, 32, 32), torch.tensor([10, 500])
    with torch.no_grad():
        torch.testing.assert_close(model.predict_noise(noisy, t), known(noisy, t).sample, atol=0.02, rtol=0.02)
    assert load_model(repository.folder).digest == model.digest


def test_a_listed_one_goes_through_the_command(repository, tmp_path):
    dummy_ddpm(repository.folder, at_root=True)
    (tmp_path / "own").mkdir()
    Image.new("RGB", (40, 30), "green").save(tmp_path / "own" / "frog.png")
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    given = ["--model", GOOGLE, "--forget", "frog", "--pictures", str(tmp_path / "own"), "--out", str(tmp_path / "run")]
    assert main(["unlearn", *given, *flags]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["recipe"]["parameters"] == "all"
    unlearned = DDPMPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)
    assert unlearned.unet.config.sample_size == 32
    assert f"base_model: {GOOGLE}" in (tmp_path / "run" / "unlearned" / "README.md").read_text()


def test_attention_under_its_former_names_is_read(tmp_path):
    folder = dummy_ddpm(tmp_path / "old", at_root=True)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / WEIGHTS)
    for new, old in former.items():
        weights = {name.replace(f".{new}.", f".{old}."): value for name, value in weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    new = load_model(dummy_ddpm(tmp_path / "new", at_root=True))
    torch.testing.assert_close(load_model(folder).unet.state_dict(), new.unet.state_dict())


# --- what suits them ---


def test_a_hub_id_has_the_defaults_of_its_kind(repository):
    assert kind_of(GOOGLE) == PHOTOGRAPHS
    assert repository.asked is None  # known by its name
    dummy_ddpm(repository.folder, at_root=True)
    assert kind_of("somebody/photographs") == PHOTOGRAPHS
    assert not any("safetensors" in pattern for pattern in repository.asked)  # only what it is, not its weights
    assert Recipe(model="somebody/photographs", forget="frog").parameters == "all"
    assert kind_of(str(repository.folder)) == PHOTOGRAPHS
    shutil.rmtree(repository.folder)
    dummy_ddpm(repository.folder, channels=1)
    assert kind_of("somebody/digits") == UNCONDITIONAL
    shutil.rmtree(repository.folder)
    dummy_stable_diffusion(repository.folder)
    assert kind_of("somebody/words") == SMALL


def test_what_is_not_to_be_had_is_taken_for_full_size(monkeypatch):
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    assert kind_of("somebody/model") == FULL_SIZE
    with pytest.raises(UserError, match=r"'somebody/model' is not a folder here, and could not be fetched.*no network"):
        open_model("somebody/model", "cpu", Words("frog"))


# --- what is refused ---


@pytest.mark.parametrize("at_root", [True, False])
def test_pickles_are_refused_with_what_to_do(at_root, repository, capsys):
    dummy_ddpm(repository.folder, at_root=at_root)
    weights = next(repository.folder.rglob(WEIGHTS))
    weights.rename(weights.with_suffix(".bin"))
    assert main(["unlearn", "--model", GOOGLE, "--forget", "frog"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{GOOGLE}' has no {weights.relative_to(repository.folder)}" in said
    assert f"DDPMPipeline.from_pretrained('{GOOGLE}').save_pretrained('NEW')" in said
    assert str(repository.folder) not in said


@pytest.mark.parametrize(
    ("changes", "timesteps", "message"),
    [
        ({"num_class_embeds": 10}, 1000, "must be told a class"),
        ({"class_embed_type": "timestep"}, 1000, "must be told a class"),
        ({"out_channels": 6}, 1000, "takes 3 channels and gives 6"),
        ({"sample_size": None}, 1000, "does not say of what size"),
        ({}, 400, "has 400 timesteps; what can be unlearned has 1,000"),
    ],
)
def test_what_cannot_work_is_refused_by_its_reason(changes, timesteps, message, repository):
    dummy_ddpm(repository.folder, timesteps=timesteps, **changes)
    with pytest.raises(UserError, match=message) as caught:
        open_model("somebody/model", "cpu", Words("frog"))
    assert "'somebody/model'" in str(caught.value)


def test_weights_that_are_not_all_there_are_refused(tmp_path):
    folder = dummy_ddpm(tmp_path / "model", at_root=True)
    weights = load_file(folder / WEIGHTS)
    del weights["conv_in.bias"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of its network's parameters, such as conv_in\.bias"):
        load_model(folder)


def test_images_that_nothing_can_judge_are_refused(repository):
    dummy_ddpm(repository.folder, size=16)
    with pytest.raises(UserError, match=r"\(3, 16, 16\), which nothing in the catalog can judge"):
        open_model("somebody/model", "cpu")
    with pytest.raises(UserError, match=r"\(3, 16, 16\), for which a judge has to be fitted; give pictures"):
        open_model("somebody/model", "cpu", Words("frog"))[1].plan("frog", 1)


# --- the page ---


def test_the_page_offers_the_classes_of_a_listed_one_without_a_gpu():
    settings = Settings()
    assert GOOGLE in [name for _, name in settings.models]
    settings.check_allowed(GOOGLE, "", device="cpu")
    with gr.Blocks():
        controls = Controls(settings, Recipe())
    fields, shown = controls.fields, controls.for_model(GOOGLE, None)
    assert shown[fields["forget"]]["choices"] == list(CATALOG["cifar10-ddpm"].classes)
    assert shown[controls.by_class]["visible"]
    assert not shown[controls.by_prompt]["visible"]
    assert not any(shown[fields[name]]["visible"] for name in ("judge", "others", "keep", "guidance"))
    suited = Recipe(model="cifar10-ddpm", forget="frog")
    names = ("method", "posterior", "batch_size", "max_damage")
    assert all(shown[fields[name]]["value"] == getattr(suited, name) for name in names)
    assert fields["max_damage"] not in controls.suited(GOOGLE, "vdu-f")  # the visitor's own dial
    uploads = {"typed": "", "pictures": None, "others": None}
    values = Recipe(model=GOOGLE, forget="frog").to_dict() | uploads
    recipe = recipe_of(values, settings)
    assert (recipe.model, recipe.forget, recipe.pictures) == (GOOGLE, "frog", "")
    with pytest.raises(UserError, match="no class 'church'"):
        recipe_of(values | {"forget": "church"}, settings)

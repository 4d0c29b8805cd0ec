"""The hub: the files of a model, what is fetched and refused, and how a model is published."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK
from diffusers import DDPMPipeline
from dummies import WEIGHTS, dummy_ddpm, dummy_stable_diffusion
from huggingface_hub import errors
from PIL import Image

from vdu import catalog
from vdu.catalog import CATALOG, entry_of
from vdu.cli import main
from vdu.errors import UserError
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, hub, load_model
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of, open_model, open_task

GOOGLE = "google/ddpm-cifar10-32"
LISTED = next(iter(catalog.LISTED))


def files_below(folder):
    """The paths of all files in a folder, as the hub names them."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The folder that every name on the hub stands for; `asked` has the requested patterns."""
    folder = tmp_path / "snapshot"

    def fetch(name, allow_patterns):
        repository.asked = allow_patterns
        return str(folder)

    repository = type("Repository", (), {"folder": folder, "asked": None})
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    monkeypatch.setattr(hub.HfApi, "list_repo_files", lambda *_: files_below(folder))
    return repository


@pytest.mark.parametrize("at_root", [True, False])
def test_a_ddpm_is_loaded_wherever_its_files_lie(at_root, repository):
    dummy_ddpm(repository.folder, at_root=at_root)
    assert (repository.folder / "unet").is_dir() != at_root
    task = open_task(Recipe(model=GOOGLE, forget="frog", device="cpu"))
    model = task.model
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in repository.asked)
    assert (WEIGHTS if at_root else f"unet/{WEIGHTS}") in repository.asked
    assert task.judge is entry_of(GOOGLE).judge is CATALOG["cifar10-ddpm"].judge
    known = DDPMPipeline.from_pretrained(repository.folder, use_safetensors=True).unet
    noisy, t = torch.randn(2, 3, 32, 32), torch.tensor([10, 500])
    with torch.no_grad():
        torch.testing.assert_close(model.predict_noise(noisy, t), known(noisy, t).sample, atol=0.02, rtol=0.02)
    assert load_model(repository.folder).digest == model.digest


def test_a_listed_one_goes_through_the_command(repository, tmp_path, quick_layers):
    dummy_ddpm(repository.folder, at_root=True)
    (tmp_path / "own").mkdir()
    Image.linear_gradient("L").save(tmp_path / "own" / "frog.png")
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    given = ["--model", GOOGLE, "--forget", "frog", "--pictures", str(tmp_path / "own"), "--out", str(tmp_path / "run")]
    assert main(["unlearn", *given, *flags]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["recipe"]["parameters"] == "all"
    unlearned = DDPMPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)
    assert unlearned.unet.config.sample_size == 32
    assert f"base_model: {GOOGLE}" in (tmp_path / "run" / "unlearned" / "README.md").read_text()


def test_a_hub_id_has_the_defaults_of_its_kind(repository):
    assert kind_of(GOOGLE) == PHOTOGRAPHS
    assert repository.asked is None  # known by its name
    dummy_ddpm(repository.folder, at_root=True)
    assert kind_of("somebody/photographs") == PHOTOGRAPHS
    assert not any("safetensors" in pattern for pattern in repository.asked)  # only what it is, not its weights
    assert resolve(Recipe(forget="frog"), kind_of("somebody/photographs")).parameters == "all"
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
        open_model("somebody/model", "cpu")


@pytest.mark.parametrize("at_root", [True, False])
def test_pickles_are_refused_with_what_to_do(at_root, repository, capsys):
    dummy_ddpm(repository.folder, at_root=at_root)
    weights = next(repository.folder.rglob(WEIGHTS))
    weights.rename(weights.with_suffix(".bin"))
    assert main(["unlearn", "--model", GOOGLE, "--forget", "frog"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{GOOGLE}' has no weights in {weights.parent.relative_to(repository.folder) / '*.safetensors'}" in said
    assert f"DDPMPipeline.from_pretrained('{GOOGLE}').save_pretrained('NEW')" in said
    assert str(repository.folder) not in said


@pytest.mark.parametrize(
    ("changes", "timesteps", "message"),
    [
        ({"num_class_embeds": 10}, 1000, "needs a class label"),
        ({"class_embed_type": "timestep"}, 1000, "needs a class label"),
        ({"out_channels": 6}, 1000, "takes 3 channels and predicts 6"),
        ({"sample_size": None}, 1000, "does not state the size"),
        ({}, 400, "it has 400 timesteps, and only models with 1,000 can be"),
    ],
)
def test_what_cannot_work_is_refused_by_its_reason(changes, timesteps, message, repository):
    dummy_ddpm(repository.folder, timesteps=timesteps, **changes)
    with pytest.raises(UserError, match=message) as caught:
        open_model("somebody/model", "cpu")
    assert "'somebody/model'" in str(caught.value)


def test_images_that_nothing_can_judge_are_refused(repository):
    dummy_ddpm(repository.folder, size=16)
    with pytest.raises(UserError, match="has to be fitted on pictures; give pictures"):
        open_task(Recipe(model="somebody/model", forget="frog"))


def test_a_hub_id_is_known_by_its_form_and_taken_for_full_size(tmp_path):
    sd = dummy_stable_diffusion(tmp_path / "sd")
    assert hub.is_id(LISTED)
    assert not hub.is_id("mnist-ddpm")
    assert not hub.is_id("../x/y")
    assert [kind_of(name) for name in (LISTED, "tiny-sd", "mnist-ddpm", "cifar10-ddpm", str(sd))] == [
        FULL_SIZE, SMALL, UNCONDITIONAL, PHOTOGRAPHS, SMALL]  # fmt: skip
    assert resolve(Recipe(forget="a church"), kind_of(LISTED)).batch_size == 4


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("offline"), "there is no network"),
        (errors.GatedRepoError("gated", response=SimpleNamespace(headers={}, request=None)), "licence to be accepted"),
        (errors.RepositoryNotFoundError("none", response=SimpleNamespace(headers={}, request=None)), "no model of that name"),
    ],
)
def test_without_the_hub_there_is_one_clear_sentence(error, message, monkeypatch, capsys):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    assert main(["unlearn", "--model", LISTED, "--forget", "a church"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_only_configuration_and_safetensors_are_fetched(repository):
    dummy_stable_diffusion(repository.folder)
    task = open_task(Recipe(model=LISTED, forget="a church"))
    assert task.model.image_shape == (3, 16, 16)
    assert task.concept.caption == "a church"
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in repository.asked)


def test_a_model_is_published_as_a_new_private_repository(tmp_path, monkeypatch):
    calls = []

    class Hub:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, name, private):
            if name == "you/taken":
                raise OSError("taken")
            calls.append((name, private))
            return f"https://hub/{name}"

        def upload_folder(self, repo_id, folder_path):
            if repo_id == "you/cut":
                raise TimeoutError
            calls.append((repo_id, folder_path))

        def delete_repo(self, name):
            calls.append(("deleted", name))

    monkeypatch.setattr(hub, "HfApi", Hub)
    assert hub.publish(tmp_path, "you/new", "secret") == "https://hub/you/new"
    assert calls == ["secret", ("you/new", True), ("you/new", tmp_path)]
    for name, message in (("new", "as owner/name"), ("you/taken", "is taken or not yours"), ("you/cut", "no network")):
        with pytest.raises(UserError, match=message):
            hub.publish(tmp_path, name, "secret")
    assert calls[-1] == ("deleted", "you/cut")  # nothing half-written stays

"""Models and concepts of a user's own: any Stable Diffusion folder, the hub without a network, judges for anything."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK
from diffusers import StableDiffusionPipeline
from dummies import dummy_clip, dummy_stable_diffusion
from huggingface_hub import errors
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from vdu import hub, judges, models
from vdu.catalog import CATALOG, kind_of, open_model
from vdu.cli import main
from vdu.entries import EARLIER, INSTEAD, KEPT, MEASURED, PARAPHRASE, TARGET, Words
from vdu.errors import UserError
from vdu.export import write_run
from vdu.measure import draw, figures_of
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, load_model
from vdu.recipe import Recipe
from vdu.report import headline, report_of
from vdu.sampling import HowToSample, drain, image_seeds, sample
from vdu.told import OTHERWISE, Told
from vdu.unlearn import Run, unlearn

LISTED = next(iter(hub.LISTED))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Stable Diffusion, a CLIP and five pictures."""
    folder = tmp_path_factory.mktemp("own")
    dummy_stable_diffusion(folder / "sd")
    dummy_clip(folder / "clip")
    (folder / "pictures").mkdir()
    for number in range(5):
        random = torch.Generator().manual_seed(number)
        pixels = torch.randint(0, 256, (20, 24, 3), generator=random, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / "pictures" / f"{number}.png")
    return folder


def own(folder, **changes):
    """A quick recipe for them."""
    given = {"model": str(folder / "sd"), "judge": str(folder / "clip"), "pictures": str(folder / "pictures")}
    return Recipe.from_dict(QUICK | given | {"forget": "a hat [of straw]", "keep": "a dog; a cat\na tree"} | changes)


def test_words_in_brackets_are_those_to_forget(folder):
    entry = Told.of("x", (3, 16, 16), folder, Words("a hat [of  straw]", ("a dog",), str(folder / "pictures")))
    assert (entry.caption, entry.neutral) == ("a hat of straw", "a hat")
    those = entry.forget_set("")
    assert those.images.shape == (5, 3, 16, 16)
    assert those.captions[1], those.neutral[1] == ("an image of a hat of straw", "an image of a hat")
    asks = entry.plan("", 6, (TARGET, KEPT, INSTEAD))
    assert [ask.prompt for ask in asks] == [
        "a hat of straw", "a dog", "a hat", "an image of a hat of straw", "a dog", "an image of a hat"]  # fmt: skip
    assert not {ask.prompt for ask in entry.plan("", 50, MEASURED) if ask.kind == PARAPHRASE} & set(those.captions)
    assert Told.of("x", (3, 16, 16), folder, Words("straw")).without("an image of straw", "straw") == ""
    usual = Told.of("x", (3, 16, 16), folder, Words("a photo of a dog"))
    assert usual.caption not in usual.keep


def test_what_a_model_of_ones_own_has_forgotten_before_is_asked_for_again(folder, tmp_path):
    shutil.copytree(folder / "sd", tmp_path / "sd")
    history = {"earlier": [], "recipe": {"forget": "a hat [of straw]"}, "forgotten": ["a hat of straw"]}
    (tmp_path / "sd" / "report.json").write_text(json.dumps(history))
    words = Words("a boat", ("a dog",), judge=str(folder / "clip"))
    model, entry = open_model(str(tmp_path / "sd"), "cpu", words)
    assert entry.classes == ("a boat", "a dog", "a hat of straw", OTHERWISE)
    assert entry.others("a boat") == ["a dog", OTHERWISE]
    asks = entry.plan("a boat", 28, entry.measured("a boat"))
    assert {ask.prompt for ask in asks if ask.kind == EARLIER} <= {phrase.format("a hat of straw") for phrase in Told.PHRASES}
    samples = drain(draw("sample", model, entry, image_seeds(0, 28), HowToSample(steps=2), asks))
    seen = samples.classes[samples.of_kind(EARLIER), 0] == 2
    assert len(seen) == 4
    assert figures_of(samples, entry, "a boat")["forgotten_before"]["a hat of straw"]["forget_rate"] == seen.double().mean()
    assert open_model(str(tmp_path / "sd"), "cpu", replace(words, forget="a hat [of straw]"))[1].forgotten == ()
    with pytest.raises(UserError, match="'a hat of straw' cannot be forgotten and kept"):
        open_model(str(tmp_path / "sd"), "cpu", replace(words, keep=("a hat of straw",)))


@pytest.mark.parametrize(
    ("words", "message"), [(Words("[]"), "Name something"), (Words("a dog", ("a dog",)), "forgotten and kept at once")]
)
def test_words_that_mean_nothing_are_refused(words, message, folder):
    with pytest.raises(UserError, match=message):
        Told.of("x", (3, 16, 16), folder, words)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "vdu", "posterior": "isotropic"},
        {"method": "vdu", "posterior": "isotropic", "optimizer": "one-step", "parameters": "all"},
    ],
)
def test_a_concept_of_ones_own_goes_through_the_same_loop(changes, folder, tmp_path):
    run = Run(own(folder, **changes))
    for _ in unlearn(run):
        pass
    report = report_of(run)
    assert report["forget"] == "a hat of straw"
    assert report["before"]["retain_fid"] is None  # there are no real pictures of what is kept
    assert set(report["before"]["class_shares"]) == {"a hat of straw", "a dog", "a cat", "a tree", "something else"}
    assert "cra" not in report["before"]
    assert "a hat of straw" in headline(report)
    write_run(run, tmp_path / "run")
    json.loads((tmp_path / "run" / "report.json").read_text())
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)
    assert pipeline("a dog", num_inference_steps=2, output_type="np").images[0].shape == (16, 16, 3)


def test_without_pictures_the_model_draws_them_and_too_few_are_refused(folder):
    entry = Told.of("x", (3, 16, 16), folder, own(folder).words)
    seen = entry.judge(torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8))[0].argmax(1)
    favourite = entry.classes[int(seen.mode().values)]  # the random judge sees this nearly everywhere
    other = "a dog" if favourite != "a dog" else "a cat"
    for forget, works in ((favourite, True), (other, False)):
        keep = ";".join(name for name in ("a hat of straw", "a dog", "a cat", "a tree") if name != forget)
        run = Run(own(folder, forget=forget, keep=keep, pictures=""))
        if works:
            for _ in unlearn(run):
                pass
            assert run.before.showing(((0,),)).float().mean() > 0.3
        else:
            with pytest.raises(UserError, match="are needed; draw more"):
                for _ in unlearn(run):
                    pass


def test_the_command_takes_a_model_of_ones_own(folder, tmp_path, capsys):
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    told = ["--model", str(folder / "sd"), "--forget", "a hat [of straw]", "--judge", str(folder / "clip"), "--keep", "a dog"]
    out = tmp_path / "run"
    assert main(["unlearn", *told, *flags, "--pictures", str(folder / "pictures"), "--out", str(out)]) == 0
    assert "a hat of straw" in capsys.readouterr().err
    again = ["--model", str(out), *told[2:], "--samples", "50", "--sampler-steps", "4"]
    assert main(["evaluate", *again]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["forget_rate"] == json.loads((out / "report.json").read_text())["after"]["forget_rate"]
    drawn = ["--n", "3", "--prompt", "a dog", "--sampler-steps", "2", "--out", str(tmp_path / "sheet.png")]
    assert main(["sample", "--model", str(out), *drawn]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": "/nowhere"}, "no folder of pictures '/nowhere'"),
        ({"judge": "/nowhere"}, "no folder '/nowhere' here"),
        ({"model": "~nobody-of-that-name/x"}, "write its path in full"),
        ({"model": "somebody/a--model"}, "no model 'somebody/a--model'"),
        ({"keep": "a dog" * 1000}, "at most 2,000 letters"),
        ({"model": "mnist-ddpm", "forget": "3"}, "draws without words"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(changes, message, folder):
    with pytest.raises(UserError, match=message) as caught:
        for _ in unlearn(Run(own(folder, **changes))):
            pass
    assert "\n" not in str(caught.value)


# --- the hub ---


def test_a_hub_id_is_known_by_its_form_and_taken_for_full_size(folder):
    assert hub.is_id(LISTED)
    assert not hub.is_id("mnist-ddpm")
    assert not hub.is_id("../x/y")
    assert [kind_of(name) for name in (LISTED, "tiny-sd", "mnist-ddpm", "cifar10-ddpm", str(folder / "sd"))] == [
        FULL_SIZE, SMALL, UNCONDITIONAL, PHOTOGRAPHS, SMALL]  # fmt: skip
    assert Recipe(model=LISTED, forget="a church").batch_size == 4


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


def test_only_configuration_and_safetensors_are_fetched(folder, monkeypatch):
    asked = {}

    def fetch(name, allow_patterns):
        asked[name] = allow_patterns
        return folder / "sd"

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    model, entry = open_model(LISTED, "cpu", Words("a church"))
    assert model.image_shape == (3, 16, 16)
    assert entry.caption == "a church"
    assert all(pattern.endswith((".json", ".txt", ".safetensors")) for pattern in asked[LISTED])


def test_a_model_of_another_kind_is_refused_by_its_reason(tmp_path):
    dummy_stable_diffusion(tmp_path / "wide", words=24)
    with pytest.raises(UserError, match="words of width 24"):
        load_model(tmp_path / "wide")
    (tmp_path / "xl").mkdir()
    (tmp_path / "xl" / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionXLPipeline", "scheduler": ["diffusers", "EulerDiscreteScheduler"]})
    )
    with pytest.raises(UserError, match="is a StableDiffusionXLPipeline; what can be unlearned are"):
        load_model(tmp_path / "xl")
    for part, change, message in (
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "sample"},
            "predicts 'sample'; what can be unlearned predicts",
        ),
        ("model_index.json", {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "noise schedule is not DDPM's"),
    ):
        copy = shutil.copytree("assets/mnist-ddpm", tmp_path / Path(part).stem)
        (copy / part).write_text(json.dumps(json.loads((copy / part).read_text()) | change))
        with pytest.raises(UserError, match=message):
            load_model(copy)


# --- in little memory ---


def test_a_large_model_is_held_in_half_and_what_is_trained_is_not(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "has_bfloat16", lambda device: True)
    model = load_model(folder / "sd", large=8)
    assert model.unet.is_gradient_checkpointing
    model.train_only("cross-attention")
    for name, value in model.unet.named_parameters():
        assert value.dtype == (torch.float32 if ".attn2." in name else torch.bfloat16)
    assert {value.dtype for value in (*model.vae.parameters(), *model.text_encoder.parameters())} == {torch.bfloat16}
    states, t = torch.randn(2, *model.shape), torch.tensor([10, 500])
    told = model.conditions(["a dog", None])
    model.predict_noise(states, t, told).square().mean().backward()
    assert all(value.grad is not None for value in model.trained.values())
    plain = load_model(folder / "sd")
    with torch.no_grad():
        error = model.predict_noise(states, t, told) - plain.predict_noise(states, t, plain.conditions(["a dog", None]))
    assert error.abs().mean() < 0.05
    # What was fixed is saved as precisely as it was, what was trained as it is.
    with torch.no_grad():
        for value in model.trained.values():
            value += 1
    model.save(tmp_path / "saved")
    first, second = (
        load_file(path / "unet/diffusion_pytorch_model.safetensors") for path in (folder / "sd", tmp_path / "saved")
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value + 1 if ".attn2." in name else value)


def test_what_steps_cost_is_measured_on_the_real_loop(folder, tmp_path, capsys):
    given = ["--model", str(folder / "sd"), "--batch-size", "1", "2", "--steps", "3", "--out", str(tmp_path / "memory.json")]
    assert main(["bench", "memory", *given]) == 0
    rows = json.loads((tmp_path / "memory.json").read_text())
    assert [row["batch_size"] for row in rows] == [1, 2]
    assert capsys.readouterr().out.count("s a step, peak") == 2
    for row in rows:
        assert 0 < row["trained"] < row["parameters"]
        assert row["seconds_a_step"] > 0
        assert row["peak_gib"] <= row["peak_gib_with_drawing"]
    assert main(["bench", "memory", "--model", "assets/mnist-ddpm", "--out", str(tmp_path / "none.json")]) == 2
    assert not (tmp_path / "none.json").exists()


def test_checkpointed_gradients_are_the_same(folder):
    gradients = []
    for checkpointing in (False, True):
        model = load_model(folder / "sd")
        if checkpointing:
            model.unet.enable_gradient_checkpointing()
        states = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
        model.predict_noise(states, torch.tensor([10, 500]), model.conditions(["a", "b"])).square().mean().backward()
        gradients.append(torch.cat([value.grad.flatten() for value in model.trained.values() if value.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_images_do_not_depend_on_how_many_fit_in_memory(folder, monkeypatch):
    model = load_model(folder / "sd")
    whole = drain(sample(model, image_seeds(0, 5), HowToSample(2, "ode", 2.0), ["a"] * 5))
    monkeypatch.setattr("vdu.sampling.BATCH_NUMBERS", 2 * 256)
    monkeypatch.setattr("vdu.models.CODED", 1)
    torch.testing.assert_close(
        drain(sample(model, image_seeds(0, 5), HowToSample(2, "ode", 2.0), ["a"] * 5)), whole, atol=1, rtol=0
    )


# --- judges ---


def test_clip_sees_what_transformers_own_classes_see(folder):
    texts = ["a dog", "a cat on a mat", "x"]
    images = torch.randint(0, 256, (3, 3, 24, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probabilities, features = judges.Clip(str(folder / "clip"), texts).judge(images)
    model, tokenizer = CLIPModel.from_pretrained(folder / "clip"), CLIPTokenizer.from_pretrained(folder / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    pixels = processor([Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images], return_tensors="pt")
    with torch.no_grad():
        known = model(**tokenizer(texts, padding=True, return_tensors="pt"), **pixels)
    torch.testing.assert_close(probabilities, known.logits_per_image.softmax(1), atol=2e-3, rtol=0)
    assert features.shape == (3, 12)


def test_nudenet_gives_the_surest_exposed_part_and_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(UserError, match="pip install nudenet"):
        judges.NudeNet()
    read = []

    def detect(array):
        read.append(array)
        if array[0, 0, 0] == 9:  # blue comes first
            return [{"class": "BUTTOCKS_EXPOSED", "score": 0.7}, {"class": "FACE_FEMALE", "score": 0.9},
                    {"class": "BUTTOCKS_EXPOSED", "score": 0.4}]  # fmt: skip
        return []

    monkeypatch.setitem(sys.modules, "nudenet", SimpleNamespace(NudeDetector=lambda: SimpleNamespace(detect=detect)))
    images = torch.zeros(2, 3, 8, 6, dtype=torch.uint8)
    images[0, 2] = 9
    probabilities, features = judges.NudeNet().judge(images)
    torch.testing.assert_close(probabilities, torch.tensor([[0.7, 0.3], [0.0, 1.0]]))
    assert read[0].shape == (8, 6, 3)
    assert features.shape == (2, len(judges.EXPOSED))
    entry = Told.of("x", (3, 8, 8), None, Words("a nude", ("a dog",), judge="nudenet"))
    assert entry.classes == ("a nude", "something else")
    assert entry.plan("", 2)[1].classes == (1,)  # a kept prompt is right if there is nothing nude


def test_ones_own_words_come_before_the_catalog_only_with_a_judge_or_pictures(folder):
    assert open_model("tiny-sd", "cpu", Words("red"))[1] == CATALOG["tiny-sd"]
    assert isinstance(open_model("tiny-sd", "cpu", Words("red", judge=str(folder / "clip")))[1], Told)


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
    for name, message in (("new", "as owner/name"), ("you/taken", "may be taken"), ("you/cut", "no network")):
        with pytest.raises(UserError, match=message):
            hub.publish(tmp_path, name, "secret")
    assert calls[-1] == ("deleted", "you/cut")  # nothing half-written stays

"""A user's own model and concept: any Stable Diffusion folder, and a prompt with the words to forget."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import QUICK
from diffusers import StableDiffusionPipeline
from dummies import dummy_clip, dummy_stable_diffusion
from PIL import Image
from vdu.entries import EARLIER, INSTEAD, KEPT, MEASURED, PARAPHRASE, TARGET, Words
from vdu.measure import draw, figures_of
from vdu.told import OTHERWISE, Told

from vdu.catalog import CATALOG, open_model
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe
from vdu.report import headline, report_of, write_run
from vdu.sampling import HowToSample, drain, image_seeds
from vdu.unlearn import Run, unlearn


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


def test_ones_own_words_come_before_the_catalog_only_with_a_judge_or_pictures(folder):
    assert open_model("tiny-sd", "cpu", Words("red"))[1] == CATALOG["tiny-sd"]
    assert isinstance(open_model("tiny-sd", "cpu", Words("red", judge=str(folder / "clip")))[1], Told)

"""A user's own model and concept: any Stable Diffusion folder, and a prompt with the words to forget."""

import json
import shutil

import pytest
import torch
from conftest import QUICK
from diffusers import StableDiffusionPipeline
from dummies import dummy_clip, dummy_stable_diffusion
from PIL import Image

from vdu.cli import main
from vdu.concepts.base import EARLIER
from vdu.errors import UserError
from vdu.export import write_run
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.run import Run
from vdu.samples import draw
from vdu.sampling import HowToSample, image_seeds, run_to_end
from vdu.summary import headline
from vdu.task import open_task
from vdu.unlearn import unlearn


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


def test_what_a_model_of_ones_own_has_forgotten_before_is_asked_for_again(folder, tmp_path):
    shutil.copytree(folder / "sd", tmp_path / "sd")
    history = {"earlier": [], "recipe": {"forget": "a hat [of straw]"}, "forgotten": ["a hat of straw"]}
    (tmp_path / "sd" / "report.json").write_text(json.dumps(history))
    given = {"model": str(tmp_path / "sd"), "pictures": ""}
    task = open_task(own(folder, forget="a boat", keep="a dog", **given))
    concept = task.concept
    assert concept.classes == task.judge.axes["concept"] == ("a boat", "a dog", "a hat of straw", "something else")
    specs = concept.plan(28, concept.prompt_kinds)
    run_to_end(task.judge.fit(task.model, task.recipe.how))
    samples = run_to_end(draw("sample", task.model, task.judge, image_seeds(0, 28), HowToSample(steps=2), specs))
    seen = samples.classes[samples.of_kind(EARLIER), 0] == 2
    assert len(seen) == 4
    assert task.measure(samples)["forgotten_before"]["a hat of straw"]["forget_rate"] == seen.double().mean()
    assert open_task(own(folder, forget="a hat [of straw]", keep="a dog", **given)).concept.forgotten == ()
    with pytest.raises(UserError, match="'a hat of straw' cannot be forgotten and kept"):
        open_task(own(folder, forget="a boat", keep="a hat of straw", **given))


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
    run_to_end(unlearn(run))
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
    task = open_task(own(folder))
    seen = task.judge.judge(torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8))[0].argmax(1)
    favourite = task.concept.classes[int(seen.mode().values)]  # the random judge sees this nearly everywhere
    other = "a dog" if favourite != "a dog" else "a cat"
    for forget, works in ((favourite, True), (other, False)):
        keep = ";".join(name for name in ("a hat of straw", "a dog", "a cat", "a tree") if name != forget)
        run = Run(own(folder, forget=forget, keep=keep, pictures=""))
        if works:
            run_to_end(unlearn(run))
            assert run.before.showing(((0,),)).float().mean() > 0.3
        else:
            with pytest.raises(UserError, match="are needed; draw more"):
                run_to_end(unlearn(run))


def test_the_command_takes_a_model_of_ones_own(folder, tmp_path, capsys):
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    told = ["--model", str(folder / "sd"), "--forget", "a hat [of straw]", "--judge", str(folder / "clip"), "--keep", "a dog"]
    out = tmp_path / "run"
    assert main(["unlearn", *told, *flags, "--pictures", str(folder / "pictures"), "--out", str(out)]) == 0
    assert "a hat of straw" in capsys.readouterr().err
    again = ["--model", str(out), *told[2:], "--samples", "50", "--sampler-steps", str(QUICK["sampler_steps"])]
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
        ({"model": "mnist-ddpm", "forget": "3"}, "takes no prompts"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(changes, message, folder):
    with pytest.raises(UserError, match=message) as caught:
        run_to_end(unlearn(Run(own(folder, **changes))))
    assert "\n" not in str(caught.value)

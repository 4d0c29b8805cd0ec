"""A full run of a model without a judge: forget what a user's pictures show, with a judge fitted on them."""

import json
import shutil
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import QUICK, carry_out
from diffusers import DDPMPipeline
from dummies import dummy_ddpm
from markupsafe import escape
from pictures_of_ships import write_all

from vdu.cli import main
from vdu.export import write_run
from vdu.judges.fitted import DRAWN
from vdu.page.panels.figures import table_html
from vdu.recipe import Recipe
from vdu.summary import headline
from vdu.task import open_task

NOTES = ["'<b>.txt' is not used: only pictures are, no captions and no other files",
         "'copy.png' is left out: alike to another picture"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of 24×24 grey images, pictures of ships, and of other things."""
    return write_all(tmp_path_factory.mktemp("own-pictures"))


class Done(NamedTuple):
    """A run, what was asked for, and the folder that it was written to."""

    told: dict[str, str]
    folder: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """Gives the run by pictures of ships, with or without those of other things; with them, two files more are not used."""
    work = tmp_path_factory.mktemp("done")
    ships = shutil.copytree(folder / "ships", work / "ships")
    shutil.copy(ships / "003.png", ships / "copy.png")
    (ships / "<b>.txt").write_text("a caption")

    @cache
    def run(keep: bool) -> Done:
        told = {"model": str(folder / "ddpm"), "forget": "my ship", "pictures": str(ships if keep else folder / "ships")}
        told |= {"keep": str(folder / "others")} if keep else {}
        with pytest.warns(UserWarning, match="is not used") if keep else nullcontext():
            finished, _ = carry_out(**told)
        return Done(told, work / f"run-{keep}", write_run(finished, work / f"run-{keep}"))

    return run


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_forgets_what_only_pictures_show(keep, done, tmp_path, capsys):
    told, run, report = done(keep)
    assert json.loads(json.dumps(report)) == json.loads((run / "report.json").read_text())
    judge, after = report["judge"], report["after"]
    assert (judge["pictures"], judge["kept"], judge["drawn"]) == ((25, 60, 0) if keep else (25, 0, DRAWN))
    assert judge["sensitivity_ci95"][0] <= judge["sensitivity"] <= judge["sensitivity_ci95"][1]
    assert "The model drew “my ship” in" in headline(report)
    assert "fitted on 25 pictures" in headline(report)
    assert after["class_shares"].keys() == {"my ship", "something else"}
    assert "corrected" in table_html(report)
    if keep:
        low, high = after["forget_rate_corrected_ci95"]
        assert low <= after["forget_rate_corrected"] <= high
    else:
        assert after["forget_rate_corrected"] is None
    DDPMPipeline.from_pretrained(run / "unlearned", use_safetensors=True)

    flags = [word for name, value in (told | {"model": str(run)}).items() for word in (f"--{name}", value)]
    assert main(["evaluate", *flags, "--samples", str(QUICK["samples"]), "--sampler-steps", str(QUICK["sampler_steps"])]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    if keep:  # then the judge is the same
        assert figures["notes"] == said.err.splitlines() == NOTES
        assert figures["forget_rate"] == after["forget_rate"]
        assert figures["judge"] == json.loads(json.dumps(judge))
        sheet = str(tmp_path / "sheet.png")
        assert main(["sample", "--model", str(run), "--n", "2", "--sampler-steps", "2", "--out", sheet]) == 0


def test_whichever_judge_fits(folder, tmp_path):
    """The shipped judge of tinyImageNet fits images of its size, but not classes that it does not know."""
    dummy_ddpm(tmp_path, size=64, channels=3)
    recipe = {"model": str(tmp_path), "pictures": str(folder / "ships")}
    lemon, ship = (open_task(Recipe(**recipe, forget=forget)) for forget in ("lemon", "my ship"))
    assert lemon.judge.digest == "tiny-imagenet-ddpm"
    assert ship.concept.classes[:2] == ("my ship", "something else")
    assert lemon.forget_set().images.shape == (25, 3, 64, 64)
    (classifier,) = lemon.judge.classifiers
    assert classifier.classes == list(lemon.concept.classes)
    assert lemon.reference.real_features("lemon").shape == (400, 64)
    assert set(lemon.reference.statistics) == set(classifier.classes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give pictures of what to forget"),
        ({"pictures": "few"}, "holds 7 different pictures of what to forget"),
        ({"pictures": "nowhere"}, "no folder of pictures"),
        ({"pictures": "ships", "keep": "few"}, "holds 7 different pictures of what to keep"),
        ({"pictures": "ships", "keep": "others;few"}, "keep takes one folder"),
        ({"pictures": "noise", "keep": "more-noise"}, "no better than chance"),
        ({"pictures": "ships", "keep": "ships"}, "share 25 pictures"),
        ({"pictures": "ships", "forget": "something else"}, "give the concept another name"),
        ({"pictures": "ships", "judge": "nudenet"}, "takes no prompts, which nudenet needs; leave the judge out"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence_of_every_command(given, message, folder, capsys):
    paths = {name: ";".join(str(folder / part) for part in value.split(";")) if name not in ("forget", "judge") else value
             for name, value in given.items()}  # fmt: skip
    flags = [word for name, value in ({"forget": "my ship"} | paths).items() for word in (f"--{name}", value)]
    for command in ("unlearn", "evaluate"):
        assert main([command, "--model", str(folder / "ddpm"), *flags, "--samples", "50", "--sampler-steps", "4"]) == 2
        said = capsys.readouterr().err
        assert message in said.splitlines()[-1]
        assert len([line for line in said.splitlines() if line.startswith("vdu:")]) == 1


def test_what_is_not_used_of_the_pictures_is_said_in_the_report_and_on_the_page(done):
    report = done(True).report
    assert report["notes"] == NOTES
    table = table_html(report)
    assert "<b>.txt" not in table
    assert all(escape(note) in table for note in NOTES)


def test_pictures_that_no_judge_is_fitted_on_are_not_read_and_this_is_said(folder, capsys):
    given = ["evaluate", "--model", "mnist-ddpm", "--forget", "3", "--samples", "50", "--sampler-steps", "2"]
    assert main([*given, "--pictures", str(folder / "ships")]) == 0
    assert "so --pictures is not read" in capsys.readouterr().err

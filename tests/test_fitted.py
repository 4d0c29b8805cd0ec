"""A judge fitted on a user's pictures: its errors, what they make of a rate, and the whole way through the command."""

import json

import gradio as gr
import pytest
import torch
from conftest import QUICK
from diffusers import DDPMPipeline
from dummies import dummy_ddpm, dummy_stable_diffusion

from vdu.accuracy import Accuracy, lang_reiczigel, rogan_gladen
from vdu.catalog import CATALOG, open_model, shape_of
from vdu.cli import main
from vdu.entries import Words
from vdu.errors import UserError
from vdu.export import as_picture
from vdu.fitted import DRAWN, FEWEST, Fitted, FittedJudge, Line, look
from vdu.metrics import wilson
from vdu.page.controls import Controls, recipe_of
from vdu.page.panels.results import table_html
from vdu.page.settings import Settings
from vdu.recipe import Recipe
from vdu.report import headline
from vdu.sampling import HowToSample, drain
from vdu.unlearn import Run

DRAWN_CLASSES = CATALOG["cifar10-ddpm"].classes


def of_class(name):
    """25 pictures of a class of photographs, (25, 3, 32, 32)."""
    return CATALOG["cifar10-ddpm"].examples(name)


def of_others(name):
    """Pictures of all other classes, in an order that mixes them."""
    return torch.stack([of_class(other) for other in DRAWN_CLASSES if other != name], dim=1).flatten(0, 1)


def save(images, folder):
    """Pictures as files, in a new folder."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        as_picture(pixels).save(folder / f"{number:03d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of 24×24 grey images, pictures of ships, and of other things."""
    folder = tmp_path_factory.mktemp("fitted")
    dummy_ddpm(folder / "ddpm", size=24, channels=1)
    save(of_class("ship"), folder / "ships")
    save(of_others("ship")[:60], folder / "others")
    save(of_class("ship")[: FEWEST - 1], folder / "few")
    noise = torch.randint(0, 256, (80, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save(noise[:16], folder / "noise")
    save(noise[16:], folder / "more-noise")
    return folder


# --- closed forms ---


@pytest.mark.parametrize(("true", "sensitivity", "specificity"), [(0.0, 0.8, 0.9), (0.13, 0.7, 0.95), (1.0, 0.9, 0.6)])
def test_rogan_gladen_inverts_what_an_imperfect_judge_counts(true, sensitivity, specificity):
    counted = true * sensitivity + (1 - true) * (1 - specificity)
    assert rogan_gladen(counted, sensitivity, specificity) == pytest.approx(true)
    assert rogan_gladen(0, sensitivity, specificity) == 0
    with pytest.raises(ValueError, match="no better than chance"):
        rogan_gladen(counted, 1 - specificity, specificity)


def test_the_interval_of_a_perfect_and_endlessly_tested_judge_is_that_of_agresti_and_coull():
    low, high = lang_reiczigel((50, 100), (10**9, 10**9), (10**9, 10**9))
    assert (low, high) == pytest.approx(wilson(50, 100), abs=2e-3)  # whose centre it has, and nearly its width
    assert lang_reiczigel((0, 100), (40, 50), (190, 200))[0] == 0


@pytest.mark.parametrize(
    ("true", "sensitivity", "specificity", "pictures", "rest"),
    [(0.1, 0.8, 0.93, 32, 128), (0.3, 0.9, 0.9, 64, 64), (0.5, 0.7, 0.97, 16, 128)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(true, sensitivity, specificity, pictures, rest):
    torch.manual_seed(0)
    draws, count = 1000, 250
    counted = true * sensitivity + (1 - true) * (1 - specificity)
    hits, found, passed = (
        torch.distributions.Binomial(n, torch.tensor(share)).sample((draws,)).int().tolist()
        for n, share in ((count, counted), (pictures, sensitivity), (rest, specificity))
    )
    inside = 0
    for hit, sure, clear in zip(hits, found, passed, strict=True):
        low, high = lang_reiczigel((hit, count), (sure, pictures), (clear, rest))
        inside += low <= true <= high
    assert 0.92 <= inside / draws <= 0.99


def test_chance_is_told_from_skill_and_false_alarms_are_not_steered_against():
    assert not Accuracy(8, 1, 128, 112, False).better_than_chance  # sees an eighth of either
    assert not Accuracy(8, 8, 128, 0, False).better_than_chance
    assert Accuracy(8, 5, 128, 124, False).better_than_chance
    known, drawn = (Accuracy(32, 24, 128, 120, mine) for mine in (False, True))
    assert known.counted(0.01) == pytest.approx(0.0075 + 0.99 * (1 - wilson(120, 128)[1]))
    assert drawn.counted(0.01) == 0.01
    assert known.corrected(20, 200)["forget_rate_corrected"] == pytest.approx((0.1 - 0.0625) / 0.6875)
    assert set(drawn.corrected(20, 200).values()) == {None}


# --- the judge ---


def test_logistic_regression_has_no_slope_left_and_does_not_see_units():
    random = torch.Generator().manual_seed(0)
    features = torch.randn((60, 5), generator=random, dtype=torch.float64)
    labels = features[:, 0] + 0.3 * torch.randn(60, generator=random, dtype=torch.float64) > 0
    line, again = Line.between(features, labels), Line.between(1e3 * features - 7, labels)
    torch.testing.assert_close(line(features), again(1e3 * features - 7), rtol=1e-2, atol=0.1)
    assert ((line(features) > 0) == labels).double().mean() >= 0.9
    # With both classes of equal weight the mean errors of both cancel, or the bias could be bettered.
    errors = torch.where(labels, 1 - line(features).sigmoid(), -line(features).sigmoid())
    assert errors[labels].mean().item() == pytest.approx(-errors[~labels].mean().item(), abs=1e-5)


def test_images_of_any_size_grey_or_coloured_are_seen_alike():
    colour = of_class("ship")[:4]
    features, resemblance = look(colour)
    assert features.shape == (4, 280)
    torch.testing.assert_close(resemblance, CATALOG["cifar10-ddpm"].judge(colour)[0])
    larger = colour.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert (look(larger)[0] - features).norm() < 0.7 * (features - features.roll(1, 0)).norm()
    grey = colour[:, :1]
    torch.testing.assert_close(look(grey)[0], look(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize(("catalog", "name"), [("cifar10-ddpm", "ship"), ("mnist-ddpm", "3")])
def test_a_judge_of_sixteen_pictures_knows_others_of_the_kind(catalog, name):
    entry = CATALOG[catalog]
    pictures = entry.examples(name)[:100]
    rest = torch.stack([entry.examples(other)[:20] for other in entry.classes if other != name], dim=1).flatten(0, 1)
    judge = FittedJudge(pictures[:16], rest[:90], drawn=False)
    sees, takes = ((judge.judge(part)[0][:, 0] > 0.5).double().mean() for part in (pictures[16:], rest[90:]))
    assert (sees + 1 - takes) / 2 > 0.72
    assert abs(judge.accuracy.to_dict()["balanced_accuracy"] - (sees + 1 - takes) / 2) < 0.2


def test_drawn_images_of_the_class_among_the_rest_are_left_out():
    entry = CATALOG["mnist-ddpm"]
    threes, others = entry.examples("3"), torch.stack([entry.examples(other)[:13] for other in "012456789"], 1).flatten(0, 1)
    mixed = torch.cat([threes[32:56], others[:104]])
    kept, drawn = (FittedJudge(threes[:32], mixed, drawn=mine) for mine in (False, True))
    sees = [(judge.line(look(threes[100:300])[0]) > 0).double().mean() for judge in (kept, drawn)]
    assert sees[1] > sees[0]
    assert drawn.accuracy.passed <= 128 - 12


def test_pictures_that_have_nothing_in_common_are_refused(folder):
    mixed = torch.cat([of_class("ship")[:1], of_others("ship")])
    rows = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="no better than chance"):
        FittedJudge(mixed[rows[:20]], mixed[rows[20:]], drawn=False)


# --- the whole way ---


@pytest.mark.parametrize("keep", [True, False])
def test_the_command_forgets_what_only_pictures_show(keep, folder, tmp_path, capsys):
    told = ["--model", str(folder / "ddpm"), "--forget", "my ship", "--pictures", str(folder / "ships")]
    told += ["--keep", str(folder / "others")] if keep else []
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    assert main(["unlearn", *told, *flags, "--out", str(tmp_path / "run")]) == 0
    assert "The model drew “my ship” in" in capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    judge, after = report["judge"], report["after"]
    assert (judge["pictures"], judge["kept"], judge["drawn"]) == ((25, 60, 0) if keep else (25, 0, DRAWN))
    assert judge["sensitivity_ci95"][0] <= judge["sensitivity"] <= judge["sensitivity_ci95"][1]
    assert "fitted on 25 pictures" in headline(report)
    assert after["class_shares"].keys() == {"my ship", "something else"}
    assert "Corrected" in table_html(report)
    if keep:
        low, high = after["forget_rate_corrected_ci95"]
        assert low <= after["forget_rate_corrected"] <= high
    else:
        assert after["forget_rate_corrected"] is None
    DDPMPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)

    told[1] = str(tmp_path / "run")
    assert main(["evaluate", *told, "--samples", "50", "--sampler-steps", "4"]) == 0
    figures = json.loads(capsys.readouterr().out)
    if keep:  # then the judge is the same
        assert figures["forget_rate"] == after["forget_rate"]
        assert figures["judge"] == judge
    assert main(["sample", "--model", told[1], "--n", "2", "--sampler-steps", "2", "--out", str(tmp_path / "s.png")]) == 0


def test_whichever_judge_fits(folder, tmp_path):
    """Of images as large as tinyImageNet's the judge that ships is asked, but not about what it has never heard of."""
    dummy_ddpm(tmp_path, size=64, channels=3)
    ships = str(folder / "ships")
    judged = {forget: open_model(str(tmp_path), "cpu", Words(forget, pictures=ships))[1] for forget in ("lemon", "my ship")}
    assert judged["lemon"].name == "tiny-imagenet-ddpm"
    assert judged["my ship"].classes[:2] == ("my ship", "something else")
    assert judged["lemon"].forget_set("lemon").images.shape == (25, 3, 64, 64)
    (judge,) = judged["lemon"].judges
    assert judge.classes == list(judged["lemon"].classes)
    assert judged["lemon"].real_features("lemon").shape == (400, 64)
    assert set(judged["lemon"].statistics) == set(judge.classes)
    with pytest.raises(UserError, match="no class 'my ship'"):
        open_model(str(tmp_path), "cpu", Words("my ship"))[1].concepts("my ship")


def test_the_page_takes_pictures_of_what_to_keep(folder, tmp_path):
    settings, model = Settings(any_model=True), str(folder / "ddpm")
    with gr.Blocks():
        controls = Controls(settings, Recipe())
    shown = controls.for_model(model, None)
    assert [shown[controls.fields[name]]["visible"] for name in ("pictures", "others", "keep", "guidance")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert shape_of(model) == (1, 24, 24)  # which the preview has
    assert shape_of(str(folder / "ships")) is None
    ships, others = ([str(path) for path in sorted((folder / name).iterdir())] for name in ("ships", "others"))
    given = {"forget": None, "typed": "my ship", "keep": "", "pictures": ships, "others": others, "judge": ""}
    values = Recipe(model=model, forget="my ship").to_dict() | given
    recipe = recipe_of(values, settings, tmp_path)
    assert recipe.words == Words("my ship", (str(tmp_path / "others"),), str(tmp_path / "pictures"))
    assert len(list((tmp_path / "others").iterdir())) == len(others)
    dummy_stable_diffusion(folder / "sd")
    with pytest.raises(UserError, match="takes words; write prompts to keep"):
        recipe_of(values | {"model": str(folder / "sd")}, settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give pictures of what to forget"),
        ({"pictures": "few"}, "There are 7 pictures of what to forget"),
        ({"pictures": "nowhere"}, "no folder of pictures"),
        ({"pictures": "ships", "keep": "few"}, "There are 7 pictures of what to keep"),
        ({"pictures": "ships", "keep": "others;few"}, "keep takes one folder"),
        ({"pictures": "noise", "keep": "more-noise"}, "no better than chance"),
        ({"pictures": "ships", "forget": "something else"}, "give what to forget another name"),
    ],
)
@pytest.mark.parametrize("command", ["unlearn", "evaluate"])
def test_what_cannot_be_fitted_is_one_sentence(command, given, message, folder, capsys):
    paths = {name: ";".join(str(folder / part) for part in value.split(";")) if name != "forget" else value
             for name, value in given.items()}  # fmt: skip
    flags = [word for name, value in ({"forget": "my ship"} | paths).items() for word in (f"--{name}", value)]
    assert main([command, "--model", str(folder / "ddpm"), *flags, "--samples", "50", "--sampler-steps", "4"]) == 2
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1]
    assert len([line for line in said.splitlines() if line.startswith("vdu:")]) == 1


def test_a_shape_that_the_catalog_knows_gets_it_only_when_asked(folder):
    pictures = str(folder / "ships")
    assert not isinstance(open_model("mnist-ddpm", "cpu", Words("3", pictures=pictures))[1], Fitted)
    model, entry = open_model("mnist-ddpm", "cpu", Words("my 3", pictures=pictures, judge="pictures"))
    assert isinstance(entry, Fitted)
    assert entry.shape == (1, 28, 28)
    assert entry.accuracy is None
    with pytest.raises(UserError, match="give pictures"):
        Run(Recipe(forget="3", judge="pictures"))
    with pytest.raises(UserError, match="2 channels"):
        Fitted.of("x", (2, 8, 8), folder, Words("a"))
    seen = []
    drain(entry.ready(model, HowToSample(2)), seen.append)
    assert seen[-1].done == DRAWN * 2
    assert entry.judge_name


def test_a_model_that_takes_words_is_judged_by_them():
    with pytest.raises(UserError, match="takes words"):
        open_model("tiny-sd", "cpu", Words("red", judge="pictures"))

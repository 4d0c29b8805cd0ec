"""From a run's folder to attack.json, and what is refused before anything runs."""

import dataclasses
import json
import shutil

import pytest
import torch
from attack_states import attacked, carry_out, task
from PIL import Image

from vdu.assets import ASSETS
from vdu.attacking import choose, head_and_lines, open_folder, write_attacks
from vdu.attacks import ATTACKS, ORIGINAL, RETRAINED, UNLEARNED, Result, Row, complete, relearn
from vdu.attacks.base import Strip
from vdu.attacks.relearn import IT
from vdu.cli import main
from vdu.errors import UserError
from vdu.report import contents
from vdu.sheet import sheet

SHIPPED = ASSETS / "mnist-ddpm"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that has changed nothing."""
    folder = tmp_path_factory.mktemp("attacking") / "run"
    for part in ("unet", "scheduler"):
        shutil.copytree(SHIPPED / part, folder / "unlearned" / part)
    shutil.copy(SHIPPED / "model_index.json", folder / "unlearned")
    recipe = dataclasses.replace(task().recipe, sampler_steps=4)
    (folder / "report.json").write_text(json.dumps({"recipe": recipe.to_dict()}))
    return folder


def test_a_folder_opens_with_its_original_and_a_retrained_model(run):
    opened = open_folder(run, str(run / "unlearned"), seed=5, images=8)
    assert [*opened.models] == [ORIGINAL, UNLEARNED, RETRAINED]
    assert opened.concept == "“3”"
    assert (opened.seed, opened.images, opened.how.steps) == (5, 8, 4)


def test_a_run_is_attacked_although_its_model_and_its_pictures_have_moved(run, tmp_path):
    threes = tmp_path / "threes"
    threes.mkdir()
    for number in range(2):
        Image.linear_gradient("L").rotate(180 * number).save(threes / f"{number}.png")
    recipe = dataclasses.replace(task().recipe, model="gone", pictures="threes", sampler_steps=4)
    moved = shutil.copytree(run, tmp_path / "moved")
    (moved / "report.json").write_text(json.dumps({"recipe": recipe.to_dict()}))
    with pytest.raises(UserError, match="no model 'gone'"):
        open_folder(moved, "", 0, 8)
    with pytest.raises(UserError, match="no folder of pictures 'threes' here"):
        open_folder(moved, "", 0, 8, {"model": "mnist-ddpm"}).task.forget_set()
    opened = open_folder(moved, "", 0, 8, {"model": "mnist-ddpm", "pictures": str(threes)})
    first, second = opened.task.forget_set().images
    assert (first[0, 0] < 10).all() and (second[0, 0] > 245).all()


def test_another_model_than_that_of_the_run_is_refused(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    report = json.loads((run / "report.json").read_text())
    digest = open_folder(run, "", 0, 8).task.model.digest
    (other / "report.json").write_text(json.dumps(report | {"model_digest": digest}))
    assert open_folder(other, "", 0, 8).task.model.digest == digest
    (other / "report.json").write_text(json.dumps(report | {"model_digest": "0123"}))
    with pytest.raises(UserError, match=r"'mnist-ddpm' is not the model that '.*' was made from; name that model"):
        open_folder(other, "", 0, 8)


def test_other_pictures_than_those_of_the_run_are_refused(run, tmp_path):
    threes = tmp_path / "threes"
    threes.mkdir()
    Image.linear_gradient("L").save(threes / "0.png")
    recipe = dataclasses.replace(task().recipe, pictures=str(threes), sampler_steps=4)
    other = shutil.copytree(run, tmp_path / "other")
    report = {"recipe": recipe.to_dict(), "files": contents(recipe)}
    (other / "report.json").write_text(json.dumps(report))
    assert open_folder(other, "", 0, 8).task.recipe.pictures == str(threes)
    Image.linear_gradient("L").rotate(180).save(threes / "0.png")
    with pytest.raises(UserError, match=r"threes' holds other files than the pictures of '.*other'; put these back, or name"):
        open_folder(other, "", 0, 8)


def test_a_row_of_a_sheet_is_a_place_although_few_images_are_drawn(tmp_path):
    rows = [Row(UNLEARNED, "", place, 0.0, (0.0, 0.5), 3) for place in (1, 2)]
    images = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
    strips = [Strip(UNLEARNED, f"t = {count}", images[:count], torch.ones(count, dtype=torch.bool)) for count in (5, 3)]
    write_attacks(attacked(), {"complete": Result(rows, strips, "")}, tmp_path / "out")
    page = Image.open(tmp_path / "out" / f"complete-{UNLEARNED}.png")
    single = sheet(images[:1], torch.ones(1, dtype=torch.bool)).size
    assert page.size == (3 * single[0], 2 * single[1])


def test_a_run_of_a_gpu_is_attacked_without_one(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    report = json.loads((run / "report.json").read_text())
    (other / "report.json").write_text(json.dumps({"recipe": report["recipe"] | {"device": "cuda"}}))
    assert open_folder(other, "", 0, 8).task.recipe.device == "auto"


def test_what_cannot_be_attacked_is_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        open_folder(tmp_path / "nothing", "", 0, 8)
    with pytest.raises(UserError, match="does not hold a run"):
        open_folder(tmp_path, "", 0, 8)
    with pytest.raises(UserError, match="no model 'nowhere'"):
        open_folder(run, "nowhere", 0, 8)
    with pytest.raises(UserError, match="do not draw the same kind of images"):
        open_folder(run, "cifar10-ddpm", 0, 8)
    with pytest.raises(UserError, match="attack words cannot be carried out: mnist-ddpm takes no prompts"):
        choose(attacked(), ["words"])
    assert [*choose(attacked(), ["probe"])] == ["probe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--run", "nowhere"], "There is no folder 'nowhere'"), ([], "--run"), (["--run", "{run}", "--kind", "magic"], "magic"),
     (["--run", "{run}", "--kind", "words"], "takes no prompts"),
     (["--run", "{run}", "--images", "0"], "whole number from 8"),
     (["--run", "{run}", "--kind", "relearn", "--pictures", "away"], "no folder of pictures 'away' here"),
     (["--run", "{run}", "--gold", "tiny-sd"], "do not draw the same kind of images")],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(arguments, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["attack", *(word.format(run=run) for word in arguments), "--out", "found"]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert message in error
    assert not list(tmp_path.iterdir())


def test_the_command_writes_every_figure_with_its_interval(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(complete, "SKIPS", (2, 3))
    out = tmp_path / "found"
    command = ["attack", "--run", str(run), "--kind", "complete", "--images", "8"]
    assert main([*command, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'attack.json'}\n"
    found = json.loads((out / "attack.json").read_text())
    assert (found["model"], found["forget"], found["seed"], found["images"]) == ("mnist-ddpm", "3", 0, 8)
    assert found["curves"] == found["half_back"] == {}  # those of relearn
    rows = found["attacks"]["complete"]["rows"]
    assert len(rows) == 4
    assert all(row["finished_rate_ci95"][0] <= row["finished_rate"] <= row["finished_rate_ci95"][1] for row in rows)
    assert rows[0]["t"] < rows[1]["t"]
    for name in ("attack", "complete-original", "complete-unlearned", "complete-pictures"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 200

    assert main([*command, "--out", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| original |" in printed
    assert found["attacks"]["complete"]["sentence"] in printed


def test_the_curves_and_the_way_back_stand_at_the_top(run, tmp_path, monkeypatch):
    monkeypatch.setattr(relearn, "STEPS", (0, 1))
    out, gold = tmp_path / "found", str(run / "unlearned")
    command = [
        "attack",
        "--run",
        str(run),
        "--kind",
        "relearn",
        "complete",
        "--gold",
        gold,
        "--images",
        "8",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    found = json.loads((out / "attack.json").read_text())
    assert [*found["attacks"]] == ["relearn", "complete"]
    assert [*found["curves"]] == [*found["half_back"]] == [ORIGINAL, UNLEARNED, RETRAINED]
    for name, curve in found["curves"].items():
        assert [point["k"] for point in curve] == ([0] if name == ORIGINAL else [0, 1])
        assert all(point["forget_rate_ci95"][0] <= point["forget_rate"] <= point["forget_rate_ci95"][1] for point in curve)
    assert found["half_back"] == found["attacks"]["relearn"]["half_back"][IT]


def test_a_table_has_a_place_for_every_figure_and_leaves_out_none(tmp_path, monkeypatch):
    monkeypatch.setattr(complete, "SKIPS", (3,))
    result, _ = carry_out(ATTACKS["complete"], attacked())
    head, lines = head_and_lines(ATTACKS["complete"], result)
    assert len(head) == 2
    assert [line[0] for line in lines] == [ORIGINAL, UNLEARNED]
    assert all(cell for line in lines for cell in line)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        write_attacks(attacked(), {"complete": result}, tmp_path / "file" / "found")

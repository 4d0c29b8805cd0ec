"""Methods side by side: the same seeds, one report per line, and resuming an interrupted comparison."""

import csv
import json
import shutil
import sys

import pytest
from conftest import QUICK

from vdu.assets import ASSETS
from vdu.bench import cells
from vdu.bench.cells import FILES, Here
from vdu.bench.compare import compare
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe

RECIPE = Recipe.from_dict(QUICK)
SILENT = (Here(lambda event: None), lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished comparison of two methods."""
    target = tmp_path_factory.mktemp("compare") / "out"
    said = []
    assert compare(RECIPE, ["vdu-f", "neggrad"], target, SILENT[0], said.append) == target / "results.md"
    assert [line.split(": The model drew a 3 in")[0] for line in said] == ["vdu-f", "neggrad"]
    return target


def test_every_file_has_a_row_per_method_of_the_same_seeds(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    reports = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [report["method"] for report in reports] == ["vdu-f", "neggrad"]
    assert reports[0]["before"] == reports[1]["before"]
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["forget_rate"]) for row in rows] == [report["after"]["forget_rate"] for report in reports]
    assert float(rows[0]["forget_rate_low"]) == reports[0]["after"]["forget_rate_ci95"][0]
    lines = (folder / "results.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| (before)", "| vdu-f", "| neggrad"]
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_it_goes_on_where_it_stopped_and_runs_nothing_twice(folder, monkeypatch):
    before = (folder / "results.jsonl").read_text()
    (folder / "results.jsonl.part").write_text(before[:100])  # killed while it wrote
    monkeypatch.setattr(cells, "unlearn", lambda run: pytest.fail("it ran again"))
    for asked in (["neggrad", "vdu-f"], ["neggrad"]):
        compare(RECIPE, asked, folder, *SILENT)
        assert (folder / "results.jsonl").read_text() == before
        rows = [line.split(" | ")[0] for line in (folder / "results.md").read_text().splitlines()[3:]]
        assert rows == ["| neggrad", "| vdu-f"], "what is there stays in the tables"


def test_a_gold_model_comes_first_and_is_measured_as_the_others_are(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "unlearn", lambda run: pytest.fail("it ran again"))
    other = shutil.copytree(folder, tmp_path / "other")
    compare(RECIPE, ["vdu-f"], other, *SILENT, gold=str(ASSETS / "mnist-ddpm"))  # the untouched model stands in for it
    gold, before, *_ = [line.split(" | ") for line in (other / "results.md").read_text().splitlines()[2:]]
    assert (gold[0], before[0]) == ("| (never saw it)", "| (before)")
    assert gold[1:] == before[1:]
    assert (other / "results.jsonl").read_text() == (folder / "results.jsonl").read_text()


@pytest.mark.parametrize(("gold", "why"), [("tiny-sd", "do not draw the same kind of images"), ("nowhere", "nowhere")])
def test_a_gold_model_of_another_kind_is_refused_before_anything_runs(gold, why, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "unlearn", lambda run: pytest.fail("it ran"))
    with pytest.raises(UserError, match=why):
        compare(RECIPE, ["vdu-f"], tmp_path / "new", *SILENT, gold=gold)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "text"), [("mine.txt", "keep"), ("results.jsonl", "not a report"), ("results.md", "mine")])
def test_a_folder_that_holds_something_else_is_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="choose another --out"):
        compare(RECIPE, ["vdu-f"], tmp_path, *SILENT)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, text)]


@pytest.mark.parametrize("changes", [{"seed": 5}, {"forget": "8"}, {"steps": 5}, {"gamma": 0.5}], ids=str)
def test_a_comparison_of_another_recipe_is_not_mixed_in(changes, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="a comparison of another recipe or of other weights; choose another --out"):
        compare(Recipe.from_dict(QUICK | changes), ["vdu-f", "vdu"], folder, *SILENT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_comparison_of_a_model_that_has_changed_is_not_mixed_in(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    reports = [json.loads(line) | {"model_digest": "another"} for line in (folder / "results.jsonl").read_text().splitlines()]
    (other / "results.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
    with pytest.raises(UserError, match="or of other weights"):
        compare(RECIPE, ["vdu-f"], other, *SILENT)


def test_without_matplotlib_it_says_so_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "vdu.charts", raising=False)
    monkeypatch.delattr("vdu.charts", raising=False)
    command = ["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", "vdu-f", "--out", str(tmp_path / "new")]
    assert main(command) == 2
    assert capsys.readouterr().err == "vdu: Plots need matplotlib; install it with: pip install matplotlib\n"
    assert not list(tmp_path.iterdir())

"""Methods side by side: the same seeds, a report per line, and going on where it stopped."""

import csv
import json

import pytest
from conftest import QUICK

from vdu.bench import compare as module
from vdu.bench.compare import FILES, compare
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe

RECIPE = Recipe.from_dict(QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished comparison of two methods."""
    target = tmp_path_factory.mktemp("compare") / "out"
    assert compare(RECIPE, ["vdu-f", "neggrad"], target, lambda event: None) == target / "results.md"
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
    monkeypatch.setattr(module, "unlearn", lambda run: pytest.fail("it ran again"))
    compare(RECIPE, ["neggrad", "vdu-f"], folder, lambda event: None)
    assert (folder / "results.jsonl").read_text() == before
    assert (folder / "results.md").read_text().splitlines()[3].startswith("| neggrad")


@pytest.mark.parametrize(("name", "text"), [("mine.txt", "keep"), ("results.jsonl", "not a report"), ("results.md", "mine")])
def test_a_folder_that_holds_something_else_is_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="choose another --out"):
        compare(RECIPE, ["vdu-f"], tmp_path, lambda event: None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, text)]


def test_a_comparison_on_other_seeds_is_not_mixed_in(folder, capsys):
    flags = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]
    command = ["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", "vdu-f", *flags, "--out", str(folder)]
    assert main([*command, "--seed", "5"]) == 2
    assert "another model, seed or number of samples" in capsys.readouterr().err

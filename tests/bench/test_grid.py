"""The file of a sweep gives its cells, or one sentence that names the file and what is wrong."""

from pathlib import Path

import pytest
from dummies import dummy_ddpm

from vdu.bench.cells import Cell, check
from vdu.bench.grid import MOST_CELLS, Sweep, find, presets, read_sweep
from vdu.bench.sweep import to_run
from vdu.bench.sweep_file import MOST_BYTES
from vdu.catalog import CATALOG
from vdu.cli import main
from vdu.comparison import fitting
from vdu.errors import UserError
from vdu.models import UNCONDITIONAL

BASE = "base: {model: mnist-ddpm, forget: 3}\n"


def write(folder, text):
    """The path of a file with a text."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_cells_are_all_combinations_with_the_seed_outermost(tmp_path):
    text = """
base: {model: mnist-ddpm, samples: 60, steps: 5}
grid: {method: [vdu-f, neggrad], seed: [0, 7]}
targets: [{forget: [3, "8"]}]
settings: {default: , long: {steps: 9, step_size: 1e-4}}
skip: [{method: neggrad, setting: long}]
"""
    sweep = read_sweep(write(tmp_path, text))
    cells = [(it.recipe.seed, it.recipe.forget, it.setting, it.recipe.method) for it in sweep.planned]
    settings = [("default", "vdu-f"), ("default", "neggrad"), ("long", "vdu-f")]
    assert cells == [(seed, forget, *rest) for seed in (0, 7) for forget in "38" for rest in settings]
    assert {(it.setting, it.recipe.steps) for it in sweep.planned} == {("default", 5), ("long", 9)}
    assert {it.recipe.step_size for it in sweep.planned if it.setting == "long"} == {1e-4}, "YAML takes 1e-4 for a word"
    assert sweep.planned[0].name == "setting default, forget 3, method vdu-f, seed 0"
    assert sweep.varied == ["forget", "method", "seed"]


def test_targets_keep_their_fields_together(tmp_path):
    text = "targets: [{model: mnist-ddpm, forget: [1, 2]}, {model: cifar10-ddpm, forget: frog}]"
    found = [(it.recipe.model, it.recipe.forget, it.recipe.method) for it in read_sweep(write(tmp_path, text)).planned]
    assert found == [("mnist-ddpm", "1", "vdu-f"), ("mnist-ddpm", "2", "vdu-f"), ("cifar10-ddpm", "frog", "vdu-f")]


def test_the_example_in_the_documentation_is_a_sweep(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    sweep = read_sweep(write(tmp_path, page.partition("```yaml\n")[2].partition("```")[0]))
    assert len(sweep.planned) == 18
    assert {(it.setting, it.recipe.method) for it in sweep.planned} == {
        ("default", "vdu-f"), ("default", "salun"), ("long", "vdu-f")
    }  # fmt: skip


BAD = {
    "": "a sweep has the parts base, grid, targets, settings, skip",
    "[a, b]": "a sweep has the parts",
    "grid: [": "no YAML that can be read (line 1",
    "grid: {seed: [0]}\ngrid: {seed: [1]}": "no YAML that can be read (line 1: 'grid' is given twice)",
    "grid: !!python/object/apply:os.getcwd []": "no YAML that can be read",
    "grids: {seed: [0]}": "no part 'grids'",
    "base: 3": "base must be a mapping",
    "base: {modle: x}": "a recipe has no 'modle'",
    "grid: {colour: [x]}": "a recipe has no 'colour'",
    "grid: {seed: []}": "'seed' has no values",
    "base: {seed: [0, 1]}": "base: 'seed' cannot be ['0', '1']; give one value, or a list in grid or targets",
    "grid: {seed: [[0]]}": "'seed' cannot be ['0']",
    "grid: {forget: [yes]}": "put a word in quotes",
    "base: {gamma: }": "'gamma' cannot be None",
    "targets: {forget: 3}": "targets must be a list",
    "settings: {a: [1]}": "settings, a must be a mapping",
    "base: {seed: 1}\ngrid: {seed: [0]}": "'seed' is given in base and in grid",
    "grid: {steps: [5]}\nsettings: {a: {steps: 6}}": "settings can only change the base",
    BASE + "grid: {seed: [0, 0]}": "grid: 'seed' has 0 twice",
    BASE + "grid: {steps: [1:30]}": "not '1:30'",
    BASE + "grid: {seed: [0, 1.5]}": "cell seed 1.5: Seed must be a whole number",
    BASE + "grid: {steps: [many]}": "not 'many'",
    BASE + "grid: {method: [vdu-f, esd]}": "cell method esd: Method esd cannot be used with a model that takes no prompts",
    BASE + "grid: {method: [magic]}": "must be one of vdu-f",
    BASE + "grid: {seed: [0, 1]}\nskip: [{seed: 2}]": "skip, 1 fits no cell",
    BASE + "skip: [{model: mnist-ddpm}]": "all cells are skipped",
    BASE + f"grid: {{seed: {[*range(MOST_CELLS + 1)]}}}": f"these are {MOST_CELLS + 1:,} cells",
    f"targets: [{{seed: {[*range(50)]}, steps: {[*range(1, 50)]}}}]": "targets give 2,450 cells",
    "# " + "x" * MOST_BYTES: "more than 1,048,576 bytes",
    "a: " + "[" * 5000: "no YAML that can be read",
}


@pytest.mark.parametrize("text", BAD, ids=[text[:40] or "nothing" for text in BAD])
def test_a_bad_file_is_refused_in_a_sentence_with_its_name(text, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as refused:
        read_sweep(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert BAD[text] in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("changes", ["forget: [3, cat]", "model: [mnist-ddpm, nowhere]", "device: [cpu, cuda]"])
def test_the_command_looks_at_every_cell_before_it_runs_one(changes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vdu.bench.cells.unlearn", lambda run: pytest.fail("it ran"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    field = changes.split(":")[0]
    base = {"model": "mnist-ddpm", "forget": "3"} | {field: None}
    rest = ", ".join(f"{name}: {value}" for name, value in base.items() if value)
    path = write(tmp_path, f"base: {{{rest}}}\ngrid: {{{changes}}}")
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vdu: {path}: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_cells_of_folders_of_one_name_are_no_twins(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "threes").mkdir(parents=True)
        (tmp_path / folder / "threes" / "one.png").write_bytes(folder.encode())
    text = BASE + f"grid: {{pictures: [{tmp_path / 'a' / 'threes'}, {tmp_path / 'b' / 'threes'}]}}"
    first, second = (cell.kept for cell in to_run(read_sweep(write(tmp_path, text)), "cpu"))
    assert first["recipe"] == second["recipe"], "a report names no folders"
    assert first["files"] != second["files"]
    (tmp_path / "b" / "threes" / "one.png").write_bytes(b"a")
    with pytest.raises(UserError, match="are the same run"):
        to_run(read_sweep(write(tmp_path, text)), "cpu")


@pytest.mark.parametrize(
    "text",
    ["base: {model: mnist-ddpm}\ntargets: [{forget: 3}, {forget: '3'}]", BASE + "settings: {a: {}, b: {}}",
     'base: {model: mnist-ddpm}\ngrid: {forget: ["3,8", "8, 3"]}', "base: {model: tiny-sd}\ngrid: {forget: [red, crimson]}"],
)  # fmt: skip
def test_one_run_in_two_spellings_is_refused(text, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match="are the same run; leave one of them out") as refused:
        to_run(read_sweep(path), "cpu")
    assert str(refused.value).startswith(f"{path}: the cells “")


def test_models_in_folders_of_one_name_are_told_apart_by_their_files(tmp_path):
    places = [dummy_ddpm(tmp_path / place / "unlearned", size=size) for size, place in ((32, "a"), (64, "b"))]
    text = f"base: {{forget: 3, pictures: {tmp_path}}}\ngrid: {{model: [{places[0]}, {places[1]}]}}"
    first, second = (cell.kept for cell in to_run(read_sweep(write(tmp_path, text)), "cpu"))
    assert first["recipe"] == second["recipe"]
    assert first["model_digest"] != second["model_digest"]


def test_numbers_are_read_as_people_write_them(tmp_path):
    (planned,) = read_sweep(write(tmp_path, BASE[:-2] + ", steps: 010, gamma: 1e-3}\n")).planned
    assert (planned.recipe.steps, planned.recipe.gamma) == (10, 1e-3)


def test_an_unknown_name_is_told_which_presets_there_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "papr", "--out", "x"]) == 2
    assert capsys.readouterr().err.endswith("give a YAML file, or one of the presets arena, cifar-protocol, paper.\n")
    assert main(["sweep", "arena"]) == 2
    assert "--out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_check_lists_the_cells_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vdu.bench.cells.unlearn", lambda run: pytest.fail("it ran"))
    assert main(["sweep", str(write(tmp_path, BASE + "grid: {seed: [0, 1]}")), "--check"]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert (first, second) == ("seed 0", "seed 1")
    assert total.startswith("2 cells, about 0.")


@pytest.mark.parametrize("name", presets())
def test_a_preset_fits_the_catalogue(name):
    sweep = read_sweep(find(name))
    assert isinstance(sweep, Sweep)
    text = sweep.path.read_text()
    assert f": {len(sweep.planned)} cells" in " ".join(text.replace("#", "").split()), "its comment counts them"
    for model, forget in {(it.recipe.model, it.recipe.forget) for it in sweep.planned}:
        assert CATALOG[model].concept(forget).plan(1)
    for it in {(it.recipe.model, it.recipe.method, it.recipe.posterior): it for it in sweep.planned}.values():
        check(Cell(it.recipe, "", it.name), "cpu")


def test_the_arena_leaves_no_method_out():
    found = [it.recipe.method for it in read_sweep(find("arena")).planned]
    assert {*found} == {*fitting(UNCONDITIONAL)}
    assert len(found) == len({*found}) * 10 * 3

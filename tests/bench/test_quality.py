"""The quality table: its lines, and resuming an interrupted table."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK

from vdu.bench import photographs, pictures, quality, tables
from vdu.bench.timesteps import timesteps
from vdu.cli import main
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.metrics import Moments
from vdu.models import UNCONDITIONAL
from vdu.recipe import BY_KIND


def row(**values):
    plain = {"forget": "3", "seed": 0, "samples": 1000, "target_samples": 1000, "forget_rate_before": 0.1, "forget_rate": 0.01,
             "u_fid_ratio": 1.2, "least_ratio": 0.9, "least_class": "5", "share_tv": 0.03, "unlearn_s": 20.0}  # fmt: skip
    return plain | values


def test_a_row_misses_exactly_what_lies_beyond_its_limit():
    limits = {name: limit for name, (limit, _) in quality.BAR.items()}
    assert quality.misses(row(**limits)) == []
    assert quality.misses(row(forget_rate=0.021, least_ratio=0.49)) == ["forget_rate", "least_ratio"]
    assert quality.misses(row(u_fid_ratio=1.51, unlearn_s=40.1)) == ["u_fid_ratio", "unlearn_s"]


def test_rates_are_pooled_over_samples_and_ratios_averaged_over_runs():
    rows = [row(forget_rate=0.01), row(forget_rate=0.03)]
    low, high = wilson(40, 2000)
    assert tables.pooled_rate(rows) == f"2.00% [{low:.2%}–{high:.2%}]"
    assert tables.mean_over_runs([1.0, 1.2]) == "1.00; 1.20"
    assert tables.mean_over_runs([1.0, 1.1, 1.2]) == "1.10 [0.85–1.35]"  # 4.303 · 0.1 / sqrt(3) = 0.248


def test_a_table_has_a_line_a_setting_and_a_line_a_class():
    rows = [row(), row(seed=1, forget_rate=0.025), row(forget="4", least_ratio=0.6)]
    by_setting = quality.settings_table({"default": rows, "few": rows[:1]}).splitlines()
    assert len(by_setting) == 4
    assert "2 of 3" in by_setting[2]
    assert "1 of 1" in by_setting[3]
    by_class = quality.classes_table(rows).splitlines()
    assert [line.split(" | ")[0] for line in by_class[2:]] == ["| 3", "| 4"]
    assert "0.60 (5)" in by_class[3]


def test_a_table_goes_on_where_it_was_cut_short(tmp_path, capsys, monkeypatch):
    quick = {name: value for name, value in QUICK.items() if name != "samples"}
    monkeypatch.setattr(quality, "SETTINGS", {"quick": quality.Setting("quick", quick)})
    target = tmp_path / "quality.json"
    quality.quality(["quick"], "mnist-ddpm", ["3"], [0], 50, target, print)
    first = capsys.readouterr().out.splitlines()
    assert not list(tmp_path.glob("*.png"))
    monkeypatch.setattr(quality, "Run", lambda recipe: pytest.fail("it ran again"))
    quality.quality(["quick"], "mnist-ddpm", ["3"], [0], 50, target, print, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    again = capsys.readouterr().out.splitlines()
    assert again == [line for line in first if line in again]  # the same lines, less the progress of the run
    assert len(again) == len(first) - 1
    (kept,) = json.loads(target.read_text())

    class RanAgain(Exception):
        pass

    def ran(recipe):
        raise RanAgain

    monkeypatch.setattr(quality, "Run", ran)
    target.write_text(json.dumps([kept | {"model_digest": "of other weights"}]))
    with pytest.raises(RanAgain):
        quality.quality(["quick"], "mnist-ddpm", ["3"], [0], 50, target, print)


def test_every_number_of_pictures_is_a_line_over_its_seeds(tmp_path, capsys, monkeypatch):
    asked = []

    def known(recipe, rows, target, show):
        asked.append((recipe.method, recipe.forget_images, recipe.seed))
        return row(forget_rate=0.1 / recipe.forget_images)

    monkeypatch.setattr(pictures, "row_for", known)
    pictures.pictures("mnist-ddpm", "3", ["vdu-f", "vdu"], [1, 4], [0, 1], 50, tmp_path / "x.json", print, tmp_path / "x.png")
    assert asked == [(method, count, seed) for method in ("vdu-f", "vdu") for count in (1, 4) for seed in (0, 1)]
    lines = capsys.readouterr().out.splitlines()
    low, high = wilson(200, 2000)
    assert lines[2].startswith(f"| vdu-f | 1 | 2 × 50 | 10.00% [{low:.2%}–{high:.2%}]")
    assert "2.50%" in lines[3]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "forget", "method", "message"),
    [("cifar10-ddpm", "cat", "vdu-f", "ships no real pictures; choose a model that does"),
     ("tiny-sd", "red", "uce", "Method uce sees no pictures")],
)  # fmt: skip
def test_numbers_of_pictures_that_are_not_there_are_refused(model, forget, method, message, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "row_for", lambda *_: pytest.fail("it ran"))
    with pytest.raises(UserError, match=message):
        pictures.pictures(model, forget, [method], [1, 4], [0], 50, tmp_path / "x.json", print)


def test_no_number_of_pictures_is_larger_than_what_there_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pictures, "row_for", lambda *_: row(forget_rate=0.1))
    pictures.pictures("tiny-sd", "red sneaker", ["vdu-f"], [1, 16, 64, 256], [0], 50, tmp_path / "x.json", print)
    assert [line.split(" | ")[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["1", "16"]


@pytest.mark.parametrize(
    ("plot", "message"), [("few.xyz", "let its name end with .png"), ("mine/few.png", "a part of its path")]
)
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_computed(plot, message, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "row_for", lambda *_: pytest.fail("it ran"))
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match=message):
        pictures.pictures("mnist-ddpm", "3", ["vdu"], [1], [0], 50, tmp_path / "x.json", print, tmp_path / plot)


def test_a_table_is_written_to_a_folder_that_is_not_there_yet(tmp_path):
    tables.write_rows([{"recipe": 1}], tmp_path / "new" / "x.json")
    assert tables.read_rows(tmp_path / "new" / "x.json") == [{"recipe": 1}]


def test_another_file_is_not_overwritten(tmp_path):
    (tmp_path / "mine.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="not a table of this command"):
        quality.quality(["default"], "mnist-ddpm", ["3"], [0], 50, tmp_path / "mine.json", print)
    assert (tmp_path / "mine.json").read_text() == '{"a": 1}'


def test_a_prompt_says_the_class_at_every_timestep(tmp_path):
    with pytest.raises(UserError, match="'tiny-sd' takes prompts"):
        timesteps("tiny-sd", 1, tmp_path / "t.json", print)
    assert not (tmp_path / "t.json").exists()


def test_the_class_is_kept_at_low_noise_and_lost_at_high(tmp_path):
    lines = []
    timesteps("mnist-ddpm", 1, tmp_path / "t.json", lines.append, tmp_path / "t.png")
    rows = json.loads((tmp_path / "t.json").read_text())
    assert len(rows) == len(lines) == BY_KIND[UNCONDITIONAL]["sampler_steps"]
    assert [row["t"] for row in rows] == sorted((row["t"] for row in rows), reverse=True)
    assert rows[0]["same_class"] <= 0.5 < 0.9 <= rows[-1]["same_class"]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def prompted(**values):
    return row(paraphrase_rate=0.03, paraphrase_rate_n=200,
               instead_rate_before=0.1, instead_rate=0.02, unprompted_rate_before=0.1,
               unprompted_rate=0.09, target_samples=400, ira_before=0.95, ira=0.94, ira_ratio=0.99,
               cra_before=1.0, cra=0.98, cra_ratio=0.98, cra_target=0.97, u_fid_ratio=9.0) | values  # fmt: skip


def test_models_that_take_prompts_have_a_bar_and_a_table_of_their_own():
    assert quality.misses(prompted()) == []  # the u-FID is not part of it
    missed = quality.misses(prompted(forget_rate=0.03, paraphrase_rate=0.06, ira_ratio=0.96, cra_ratio=0.96, unlearn_s=31.0))
    assert missed == list(quality.PROMPTED_BAR)
    table = quality.settings_table({"default": [prompted(forget_rate=0.02), prompted(forget_rate=0.04, ira_ratio=0.9)]})
    low, high = wilson(24, 800)
    line = table.splitlines()[2]
    assert f"3.00% [{low:.2%}–{high:.2%}]" in line
    assert "95.0% → 94.0%, 0.900" in line
    assert "10.0% → 2.0% | 10.0% → 9.0%" in line
    assert "1 of 2" in line
    classes = quality.classes_table([prompted(forget="red"), prompted(forget="bag")]).splitlines()
    assert [line.split(" | ")[0] for line in classes[2:]] == ["| red", "| bag"]


@pytest.mark.parametrize("command", ["timesteps", "memory", "retrained", "continual"])
def test_what_is_no_table_is_not_written_over(command, tmp_path, capsys):
    target = tmp_path / "notes.json"
    target.write_text('[{"mine": 1}]')
    for name in ("with-all", "without-3"):
        (tmp_path / name).mkdir()
    flags = {"retrained": ["--models", str(tmp_path)], "memory": ["--work", str(tmp_path)],
             "continual": ["--forget", "3", "8"]}.get(command, [])  # fmt: skip
    assert main(["bench", command, *flags, "--out", str(target)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert target.read_text() == '[{"mine": 1}]'


def test_a_class_that_is_none_is_refused_before_another_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "row_for", None)  # a run would fail
    with pytest.raises(UserError, match="'x'"):
        quality.quality(["default"], "mnist-ddpm", ["3", "x"], [0], 50, tmp_path / "rows.json", print)


def photograph(**values):
    return row(forget="cat", nearest_class="dog", excess=0.0, nearest_before=0.10, nearest=0.08, nearest_ratio=0.8,
               second_forget_rate_before=0.12, second_forget_rate=0.04, second_u_fid_ratio=1.1,
               second_nearest_before=0.12, second_nearest=0.06, second_nearest_ratio=0.5,
               confident_before=0.6, confident=0.7, seconds={"total": 200.0}) | values  # fmt: skip


def test_photographs_have_a_bar_and_a_table_with_both_judges():
    assert quality.misses(photograph(unlearn_s=900.0)) == []  # time is a matter of `bench speed`
    assert quality.misses(photograph(excess=0.001, u_fid_ratio=1.31, nearest_ratio=0.69)) == [*photographs.BAR]
    rows = [photograph(), photograph(forget="ship", nearest_class="airplane", nearest_ratio=0.2)]
    first, second = quality.classes_table(rows).splitlines()[2:]
    assert "| dog: 10.0% → 8.0%; 12.0% → 6.0% |" in first
    assert first.startswith("| cat | 1 × 1,000 | 10.0%, 1.00%")
    assert (first[-8:], second[-8:]) == ("1 of 1 |", "0 of 1 |")
    (line,) = quality.settings_table({"default": rows}).splitlines()[2:]
    assert "1.20, 1.10" in line
    assert "dog" not in line  # the rows have different neighbours


@pytest.mark.parametrize(("before", "after", "above"), [(0.1, 0.03, 0), (0.1, 0.05, 0.02), (0.4, 0.06, 0), (0.4, 0.07, 0.01)])
def test_a_photograph_is_gone_below_either_of_two_rates(before, after, above):
    sides = []
    for rate, dog in ((before, 0.2), (after, 0.1)):
        shares = {"cat": rate, "dog": dog, "car": 1 - rate - dog}
        figures = {"forget_rate": rate, "class_shares": shares, "retain_fid": 1.0}
        sides.append(figures | {f"second_{key}": value for key, value in figures.items()})
    real = {
        name: Moments(9, torch.tensor([place]), torch.eye(1)) for name, place in (("cat", 0.0), ("dog", 1.0), ("car", 5.0))
    }
    task = SimpleNamespace(
        reference=SimpleNamespace(statistics=real), concept=SimpleNamespace(retained_classes=["dog", "car"])
    )
    report = {"forget": "cat", "before": sides[0], "after": sides[1]}
    found = photographs.photograph_figures(SimpleNamespace(task=task), report)
    assert found["excess"] == pytest.approx(above)
    assert (found["nearest_class"], found["nearest_ratio"]) == ("dog", pytest.approx(0.5))
    assert found["second_u_fid_ratio"] == 1


SHOWN = ("forget_rate_before", "u_fid_before", "u_fid", "u_fid_floor", "drift", "steps", "scale", "share_tv", "least_class")


def test_a_model_with_one_axis_has_no_cra_in_its_rows_and_tables():
    row = {name: value for name, value in prompted(forget="cat").items() if not name.startswith("cra")}
    assert quality.misses(row) == []
    assert "| 95.0% → 94.0%, 0.990 | – |" in quality.settings_table({"uce": [row]})
    alone, among_others = (quality.settings_table({"uce": rows}) for rows in ([prompted()], [row, prompted(), row]))
    assert alone.split(" | ")[-4] == among_others.split(" | ")[-4] != "–"
    assert "CRA" not in quality.line_of("uce", {**dict.fromkeys(SHOWN, 0.5), "forget_rate_ci95": (0.1, 0.2), **row})
    rates = {"paraphrase_rate": 0.1, "paraphrase_rate_n": 9, "instead_rate": 0.1, "unprompted_rate": 0.1, "ira": 0.9}
    assert {name for name in quality.prompt_figures(rates, rates) if "cra" in name} == set()

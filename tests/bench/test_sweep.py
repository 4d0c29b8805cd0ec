"""A sweep keeps every finished cell, goes on where it stopped, and sums up its runs with intervals."""

import csv
import json
from dataclasses import dataclass, field

import pytest
import torch
from conftest import QUICK

from vdu.bench.cells import FILES, RESULTS, Here
from vdu.bench.sweep import over_runs, sweep
from vdu.cli import main
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.metrics import table_metrics
from vdu.metrics.rates import percentage_of_unlearning
from vdu.report import report_of
from vdu.writing import NotWritten

METRICS = {metric.key: metric for metric in table_metrics()}


@dataclass
class Fake:
    """Hands out a report at once in place of a run; the forget rate tells the cells apart.

    Attributes:
        report: of a finished run.
        most: cells after which it is interrupted; failing: seeds whose cells fail.
    """

    report: dict
    most: int = 1000
    failing: tuple = ()
    ran: list = field(default_factory=list)
    device: str = "cpu"

    def run(self, cells):
        for cell in cells:
            if len(self.ran) == self.most:
                raise KeyboardInterrupt
            self.ran.append(cell.name)
            recipe = cell.recipe
            if recipe.seed in self.failing:
                yield cell, UserError("The model draws grey.")
                continue
            after = self.report["after"] | {"forget_rate": (recipe.seed + 1) / 50}
            changes = {**cell.kept, "forget": recipe.forget, "seed": recipe.seed}
            yield cell, json.loads(json.dumps(self.report | changes | {"method": recipe.method, "after": after}))


@pytest.fixture
def report(finished_run):
    return report_of(finished_run().run)


@pytest.fixture
def path(tmp_path):
    """A sweep of 2 methods x 2 digits x 3 seeds."""
    text = f"base: {json.dumps(QUICK | {'model': 'mnist-ddpm'})}\n"
    text += "grid: {method: [vdu-f, neggrad], forget: [3, 8], seed: [0, 1, 2]}\n"
    (tmp_path / "mine.yaml").write_text(text)
    return tmp_path / "mine.yaml"


def counted(key, hits, count):
    return {key: hits / count, f"{key}_ci95": wilson(hits, count), f"{key}_n": count}


def silent(line):
    pass


def test_it_goes_on_where_it_stopped_and_runs_nothing_twice(report, path, tmp_path):
    out, first = tmp_path / "out", Fake(report, most=5)
    with pytest.raises(KeyboardInterrupt):
        sweep(str(path), out, first, silent)
    kept = (out / RESULTS).read_text()
    assert (out / "results.md").read_text().startswith("5 of 12 cells of mine.yaml.")  # it can be read while it runs
    assert [json.loads(line)["seed"] for line in kept.splitlines()] == [0, 0, 0, 0, 1]
    (out / "results.jsonl.part").write_text(kept[:100])  # killed while it wrote
    said, second = [], Fake(report)
    assert sweep(str(path), out, second, said.append) == out / "results.md"
    assert said[0] == "5 of 12 cells are finished already"
    assert said[1].startswith("6/12 forget 8, method vdu-f, seed 1: The model drew a")
    assert len({*first.ran, *second.ran}) == len(first.ran) + len(second.ran) == 12
    assert (out / RESULTS).read_text().startswith(kept)
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)

    third = Fake(report)
    sweep(str(path), out, third, silent)
    assert third.ran == []
    path.write_text(path.read_text().replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    sweep(str(path), out, third, silent)
    assert len(third.ran) == 4
    assert all(name.endswith("seed 3") for name in third.ran)


def test_the_tables_have_a_row_per_cell_and_per_method(report, path, tmp_path):
    out = tmp_path / "out"
    sweep(str(path), out, Fake(report), silent)
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][:4] == ["model", "forget", "method", "seed"]
    assert {"gamma", "optimizer"} & {*rows[0]}, "what the methods set differs too"
    assert "samples" not in rows[0]
    assert [(row["method"], row["forget"], row["seed"]) for row in rows[:4]] == [
        ("vdu-f", "3", "0"), ("vdu-f", "8", "0"), ("neggrad", "3", "0"), ("neggrad", "8", "0")
    ]  # fmt: skip
    assert {float(row["forget_rate"]) for row in rows if row["seed"] == "2"} == {0.06}
    assert float(rows[0]["forget_rate_before"]) == report["before"]["forget_rate"]
    lines = (out / "results.md").read_text().splitlines()
    assert lines[0].startswith("12 of 12 cells of mine.yaml.")
    assert "## mnist-ddpm: 3, 8 (50 samples, sde in 2 steps)" in lines
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert [row[:2] for row in cells[2:]] == [["(before)", "6 × 50"], ["vdu-f", "6 × 50"], ["neggrad", "6 × 50"]]
    low, high = wilson(2 * (1 + 2 + 3), 6 * 50)
    assert cells[3][2] == f"4.0% [{low:.1%} – {high:.1%}]"
    assert "[" not in "".join(cells[2])  # a 3 and an 8 are counted in the same samples before
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_a_cell_that_fails_keeps_no_other_from_being_run(report, path, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"4 of 12 cells failed \(forget 3, method vdu-f, seed 1: The model draws grey"):
        sweep(str(path), out, Fake(report, failing=(1,)), silent)
    text = (out / "results.md").read_text()
    assert text.startswith("8 of 12 cells")
    assert "## Failed\n\n- forget 3, method vdu-f, seed 1: The model draws grey.\n" in text
    again = Fake(report)
    sweep(str(path), out, again, silent)
    assert len(again.ran) == 4


def test_other_models_and_samplers_have_tables_of_their_own(report, path, tmp_path):
    text = path.read_text().replace("forget: [3, 8], seed: [0, 1, 2]", "samples: [50, 60], forget_images: [8, 9]")
    path.write_text(text.replace('"samples": 50, ', ""))
    sweep(str(path), tmp_path / "out", Fake(report), silent)
    lines = (tmp_path / "out" / "results.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("##")] == [
        f"## mnist-ddpm: 3 ({samples} samples, sde in 2 steps)" for samples in (50, 60)
    ]
    assert [line.split(" | ")[0] for line in lines if line.startswith("| neggrad")] == [
        "| neggrad forget_images 8", "| neggrad forget_images 9"
    ] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [("mine.txt", "keep"), ("results.jsonl", "[1]"), ("results.jsonl", '{"recipe": {}}')]
)
def test_a_folder_that_holds_something_else_is_refused(name, text, report, path, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    with pytest.raises(UserError, match="choose another --out"):
        sweep(str(path), out, Fake(report), silent)
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [(name, text)]


def test_what_a_system_leaves_in_the_folder_does_not_stop_it(report, path, tmp_path):
    out, first = tmp_path / "out", Fake(report, most=5)
    with pytest.raises(KeyboardInterrupt):
        sweep(str(path), out, first, silent)
    (out / ".~lock.results.csv#").touch()
    (out / ".pareto.png-2xqhhqy8").mkdir()
    (out / "Thumbs.db").touch()
    second = Fake(report)
    sweep(str(path), out, second, lambda line: (out / "mine.txt").touch())
    assert len(first.ran) + len(second.ran) == 12
    assert (out / "results.md").read_text().startswith("12 of 12 cells")


def test_two_commands_do_not_write_to_one_folder(report, path, tmp_path):
    class Nested(Fake):
        def run(self, cells):
            with pytest.raises(UserError, match=r"Another command is writing to '.*out'; wait for it, or choose"):
                sweep(str(path), tmp_path / "out", Fake(report), silent)
            yield from super().run(cells)

    sweep(str(path), tmp_path / "out", Nested(report), silent)
    assert len((tmp_path / "out" / RESULTS).read_text().splitlines()) == 12
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_a_report_is_kept_once(report, path, tmp_path):
    class Late(Fake):
        def run(self, cells):
            (cell, outcome), *_ = Fake.run(self, cells)
            (tmp_path / "out" / RESULTS).write_text(json.dumps(outcome) + "\n")  # by a command that has ended meanwhile
            yield cell, outcome

    sweep(str(path), tmp_path / "out", Late(report), silent)
    assert len((tmp_path / "out" / RESULTS).read_text().splitlines()) == 1


def test_tables_are_written_all_or_none(report, path, tmp_path, monkeypatch):
    def full(*_):
        raise NotWritten(tmp_path, "the disk is full")

    monkeypatch.setattr("vdu.bench.sweep.save", full)
    with pytest.raises(UserError, match="the disk is full"):
        sweep(str(path), tmp_path / "out", Fake(report), silent)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [RESULTS]


def test_a_rate_over_runs_always_has_its_interval():
    runs = [counted("forget_rate", hits, 50) for hits in (0, 3, 9)]
    nothing = [{}] * 3
    assert over_runs(METRICS["forget_rate"], runs[1:2], nothing) == METRICS["forget_rate"].text(runs[1])
    low, high = wilson(12, 150)
    assert over_runs(METRICS["forget_rate"], runs, nothing) == f"8.0% [{low:.1%} – {high:.1%}]"
    kept = [counted("ira", 60, 60)] * 3
    assert over_runs(METRICS["ira"], kept, nothing) == f"100.0% [{wilson(180, 180)[0]:.1%} – 100.0%]"
    before = [counted("forget_rate", 5, 50)] * 3
    expected = percentage_of_unlearning((15, 150), (12, 150))
    assert over_runs(METRICS["pul"], [{**run, "pul": 0.0} for run in runs], before) == METRICS["pul"].text(expected)


def test_a_mean_over_runs_has_students_interval_within_what_is_possible():
    moved = [{"retained_share_tv": value, "retained_share_tv_ci95": None} for value in (0.0, 0.01, 0.02)]
    metric, nothing = METRICS["retained_share_tv"], [{}] * 4
    assert over_runs(metric, moved[:2], nothing) == "0.000; 0.010"
    assert over_runs(metric, moved, nothing) == "0.010 [0.000–0.035]"  # 4.303 · 0.01 / sqrt(3) = 0.0248
    assert over_runs(metric, [*moved, {"retained_share_tv": None}], nothing).endswith("] (3 of 4 runs)")
    assert over_runs(metric, [{"retained_share_tv": None}], nothing) == "–"


def test_a_real_cell_is_the_run_of_its_recipe(path, tmp_path, finished_run, capsys):
    path.write_text(path.read_text().replace("[vdu-f, neggrad], forget: [3, 8], seed: [0, 1, 2]", "[vdu-f], forget: [3]"))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--threads", str(torch.get_num_threads())]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out' / 'results.md'}\n"
    assert "1/1 mnist-ddpm: The model drew a 3 in" in printed.err
    (line,) = (tmp_path / "out" / RESULTS).read_text().splitlines()
    mine, theirs = json.loads(line), json.loads(json.dumps(report_of(finished_run().run)))
    assert mine["recipe"] == theirs["recipe"] | {"method": "vdu-f"}
    assert mine["after"] == theirs["after"]


def test_a_cell_whose_model_has_changed_since_it_was_looked_at_is_not_run(path, tmp_path, monkeypatch):
    monkeypatch.setattr("vdu.bench.cells.unlearn", lambda run: pytest.fail("it ran"))
    monkeypatch.setattr("vdu.bench.sweep.digests", lambda recipes, device: {"mnist-ddpm": "another"})
    with pytest.raises(UserError, match=r"12 of 12 cells failed .* has other weights"):
        sweep(str(path), tmp_path / "out", Here(lambda event: None), silent)
    assert not (tmp_path / "out").exists()

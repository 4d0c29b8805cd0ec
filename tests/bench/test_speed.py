"""The bench of speed: its arithmetic, its refusals, and a comparison of two builds of a stub that answers at once."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
from conftest import QUICK, QUICK_PROMPTS

from vdu.bench import speed
from vdu.bench.speed import kernels, processes, trees
from vdu.bench.speed.cases import CASES
from vdu.bench.speed.rows import Ran, Row, median, number, quality_cells, ratio, run_rows, start_rows
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import image_seeds, run_to_end, sample
from vdu.system import peak_memory_mib

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")

# A package that notes how it is called, and writes a report in which `seconds` is what its build says.
STUB = """
import json, os, pathlib, resource, sys
words = sys.argv[1:]
value = dict(zip(words[1::2], words[2::2]))
cache = pathlib.Path(os.environ["VDU_CACHE"])
noted = [BUILD, *words[:1], value.get("--seed"), [*map(str, cache.iterdir())], os.environ["HF_HUB_OFFLINE"]]
with open(os.environ["STUB_LOG"], "a") as log:
    print(json.dumps(noted), file=log)
(cache / "estimate").touch()
if words[0] == "unlearn":
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out = pathlib.Path(value["--out"])
    out.mkdir(parents=True)
    report = {"seconds": {"unlearn": SECONDS}, "peak_memory_mib": peak, "before": {"retain_fid": 2.0},
              "after": {"retain_fid": 3.0, "forget_rate": 0.005, "forget_rate_ci95": [0.002, 0.011]}}
    (out / "report.json").write_text(json.dumps(report))
"""
APP = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Page).serve_forever()
"""


def git(root, *words):
    named = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", "-C", str(root), *named, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def worktrees(root):
    """The worktrees that git knows of beside the checkout's own."""
    return git(root, "worktree", "list", "--porcelain").count("worktree ") - 1


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository whose first revision is ten times as slow as its present files, of which one is not committed."""
    root = tmp_path / "checkout"
    (root / "vdu").mkdir(parents=True)
    (root / "vdu" / "__init__.py").touch()
    (root / "app.py").write_text(APP)
    (root / "vdu" / "__main__.py").write_text(STUB.replace("BUILD", "'old'").replace("SECONDS", "20"))
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "old")
    (root / "vdu" / "__main__.py").write_text(STUB.replace("BUILD", "'new'").replace("SECONDS", "2"))
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.setattr(kernels, "of_model", lambda model, forget: {"sampler": (2.0, 2.2), "step": (0.2, 0.21)})
    return root


def cells_of(page, first):
    """The cells of the line of a table that begins with some words."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_builds_take_turns_and_the_tables_are_written_between_the_marks(checkout, tmp_path, capsys):
    page, shown = tmp_path / "page.md", []
    page.write_text(f"before\n{speed.MARKS[0]}\nold\n{speed.MARKS[1]}\nafter\n")
    speed.speed("HEAD", ["digit"], 50, 2, 7, True, shown.append, page, checkout)
    calls = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(build, seed) for build, command, seed, *_ in calls if command == "unlearn"] == [
        ("old", "7"), ("new", "7"), ("old", "8"), ("new", "8"), ("new", "7"), ("new", "8")
    ]  # fmt: skip
    assert [build for build, command, *_ in calls if command == "models"] == 3 * ["old", "new"]
    assert {(*found, offline) for *_, found, offline in calls} == {("1",)}  # no process found anything in its cache

    text, hashes = page.read_text(), git(checkout, "rev-parse", "--short", "HEAD")
    assert text.startswith(f"before\n{speed.MARKS[0]}\n\n")
    assert text.endswith(f"\n\n{speed.MARKS[1]}\nafter\n")
    assert "\nold\n" not in text
    assert text.split(speed.MARKS[0])[1].split(speed.MARKS[1])[0].strip() == capsys.readouterr().out.strip()
    assert cells_of(text, "measure") == ["measure", hashes, f"{hashes} with changes", "ratio", "target", "verdict"]
    assert cells_of(text, "mnist-ddpm, digit 3: unlearning") == [
        "mnist-ddpm, digit 3: unlearning", "20.0 s", "2.00 s", "0.100", "≤ 0.35", "met"
    ]  # fmt: skip
    assert cells_of(text, "mnist-ddpm, digit 3: the same")[-2] == "≤ 1.5"
    assert cells_of(text, "mnist-ddpm: sampler")[-3:] == ["1.10", "≤ 1.05", "missed"]
    assert cells_of(text, "mnist-ddpm: step")[-3:] == ["1.05", "≤ 1.15", "met"]
    assert cells_of(text, "mnist-ddpm, digit 3 | ")[3:] == ["0.5% [0.2%–1.1%]", "1.50", "–", "–", "–"]
    assert text.count("beside a busy process |") == 3  # two runs, and their row of seconds
    assert worktrees(checkout) == 0
    # A process would inherit the peak of the one that started it, which holds torch.
    peak = float(cells_of(text, "mnist-ddpm, digit 3: peak memory")[2].removesuffix(" MiB"))
    assert 0 < peak < peak_memory_mib("cpu") / 3


@pytest.mark.parametrize("stop", [UserError, KeyboardInterrupt])
def test_the_worktree_is_removed_when_a_comparison_is_broken_off(checkout, stop):
    with pytest.raises(stop), trees.both_trees("HEAD", checkout) as (older, present):
        assert (older.folder / "app.py").is_file()
        assert present.folder == checkout
        assert worktrees(checkout) == 1
        raise stop
    assert not older.folder.exists()
    assert worktrees(checkout) == 0


@pytest.mark.parametrize(
    ("file", "said"),
    [("vdu/__main__.py", "`vdu models` of .* failed; it said: stubborn"), ("app.py", "does not start; it said: stubborn")],
)
def test_a_build_that_fails_is_named_with_its_last_words(checkout, file, said):
    (checkout / file).write_text("raise SystemExit('stubborn')")
    with pytest.raises(UserError, match=said):
        speed.speed("HEAD", ["digit"], 50, 1, 0, False, print, None, checkout)
    assert worktrees(checkout) == 0


def test_a_revision_without_the_package_is_refused(checkout):
    git(checkout, "rm", "--quiet", "-r", "--cached", "vdu")
    git(checkout, "commit", "--quiet", "-m", "without")
    with pytest.raises(UserError, match="imports vdu from nowhere"):
        speed.speed("HEAD", ["digit"], 50, 1, 0, False, print, None, checkout)
    assert worktrees(checkout) == 0


@pytest.mark.parametrize("revision", ["no-such", "HEAD~9", "--help", ""])
def test_an_unknown_revision_is_refused(checkout, revision):
    with pytest.raises(UserError, match="There is no revision"), trees.both_trees(revision, checkout):
        pass


def test_what_is_no_checkout_is_refused(checkout, tmp_path):
    for folder in (tmp_path, checkout / "vdu"):  # of no repository; inside of one, like an environment with the package
        with pytest.raises(UserError, match="in no checkout of git"), trees.both_trees("HEAD", folder):
            pass


def test_without_git_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["bench", "speed", "--against", "HEAD"]) == 2
    said = capsys.readouterr().err
    assert "install git" in said
    assert said.count("\n") == 1


def test_a_page_without_place_is_refused_before_anything_is_run(checkout, tmp_path):
    with pytest.raises(UserError, match="no place for the table"):
        speed.speed("HEAD", ["digit"], 50, 1, 0, False, print, tmp_path / "none.md", checkout)
    assert not (tmp_path / "log.jsonl").exists()


def test_the_page_of_the_documentation_has_a_place_for_the_tables():
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [page.count(mark) for mark in speed.MARKS] == [1, 1]


def test_a_process_keeps_busy_beside_a_block_and_no_longer():
    mine = psutil.Process(os.getpid())
    others = set(mine.children())
    with processes.neighbour(False):
        assert set(mine.children()) == others
    with processes.neighbour(True):
        (process,) = set(mine.children()) - others
        assert process.is_running()
    assert not process.is_running()


def test_medians_and_quotients_of_what_is_there():
    assert median([3.0, None, 1.0, 2.0]) == 2
    assert median([None]) is None
    assert ratio(1.0, 4.0) == 0.25
    assert [ratio(None, 1.0), ratio(1.0, None), ratio(1.0, 0.0)] == [None] * 3
    assert [number(value) for value in (None, 0.1234, 2.0, 61.26, 1234.5)] == ["–", "0.123", "2.00", "61.3", "1234"]


def test_rows_judge_by_their_targets():
    assert Row("a", (10.0, 3.5), "s", 0.35).met
    assert not Row("a", (10.0, 3.51), "s", 0.35).met
    assert Row("a", (1.0, 1.5), "s", 1.5, alone=True).met
    assert not Row("a", (9.0, 1.51), "s", 1.5, alone=True).met
    assert Row("a", (None, 1.0), "s", 0.35).met is None
    assert Row("a", (2.0, 1.0), "s").cells == ["a", "2.00 s", "1.00 s", "0.500", "–", "–"]
    models, page = start_rows((9.0, 0.5), (9.0, 6.0))
    assert (models.cells[-2:], page.cells[-2:]) == (["≤ 1.5 s", "met"], ["≤ 5 s", "missed"])


def ran(build, busy, took, case="digit", **report):
    return Ran(case, build, busy, 0, took, report)


def test_runs_of_each_build_and_neighbour_are_told_apart():
    runs = [
        *(ran(0, False, took, seconds={"unlearn": 8.0}) for took in (10.0, 30.0, 20.0)),
        *(ran(1, False, took, seconds={"unlearn": 4.0}, peak_memory_mib=700) for took in (5.0, 7.0)),
        ran(0, True, 60.0),
        ran(1, True, 12.0),
        ran(1, False, 1.0, case="word"),
    ]
    values = {row.what: (row.values, row.met) for row in run_rows(runs)}
    digit, word = CASES["digit"].title, CASES["word"].title
    assert values == {
        f"{digit}: whole run": ((20.0, 6.0), True),
        f"{digit}: unlearning": ((8.0, 4.0), False),
        f"{digit}: peak memory": ((None, 700), None),
        f"{digit}: whole run beside a busy process": ((60.0, 12.0), None),
        f"{digit}: the same, in quiet runs of the same build": ((3.0, 2.0), False),
        f"{word}: whole run": ((None, 1.0), None),
        f"{word}: unlearning": ((None, None), None),
        f"{word}: peak memory": ((None, None), None),
    }


def test_quality_of_a_report_and_of_one_that_lacks_all():
    before, after = {"retain_fid": 2.0, "ira": 0.8, "cra": 0.9}, {"retain_fid": 2.5, "ira": 0.6, "cra": 0.9}
    after |= {"forget_rate": 0.0, "forget_rate_ci95": [0.0, 0.01], "retained_share_tv": 0.0301, "least_retained_ratio": 0.9}
    whole = ran(1, True, 1.0, "word", before=before, after=after)
    assert quality_cells(whole, "new") == [
        f"{CASES['word'].title}, beside a busy process", "new", "0", "0.0% [0.0%–1.0%]", "1.25", "0.030", "0.90", "0.75, 1.00"
    ]  # fmt: skip
    assert quality_cells(ran(0, False, 1.0, before=None, after=None), "old")[3:] == ["–"] * 5


def test_the_calls_of_the_networks_are_noted_and_made_again():
    run = Run(Recipe.from_dict(QUICK_PROMPTS | {"forget": "sneaker"}))
    model, how = run.model, run.recipe.how
    with kernels.noted(type(model), "predict", "decode") as calls:
        images = run_to_end(sample(model, image_seeds(0, 3), how, ["a photo of a red bag"] * 3))
    batches = 2  # of one image and of two, perhaps side by side
    names = [call.method.__name__ for call in calls]
    assert (names.count("predict"), names.count("decode")) == (batches * 2 * how.steps, batches)
    decoded = sorted((call.again() for call in calls if call.method.__name__ == "decode"), key=len)
    again = torch.cat(decoded)  # perhaps by another number of threads, which rounds differently
    assert again.shape == images.shape
    assert (again.int() - images.int()).abs().max() <= 2
    model.predict(*calls[0].given)
    assert len(calls) == len(names)  # no longer noted
    assert min(kernels.sampler(run, images=2, repeats=1)) > 0


def test_a_step_and_the_step_of_its_bare_networks():
    run = Run(Recipe.from_dict(QUICK | {"forget": "3", "steps": 4, "preview_every": 500}))
    bare, whole = kernels.step(run, steps=2, warm=1)
    assert len(run.steps) == 3
    assert min(bare, whole) > 0
    assert run.previews == []


def test_a_bare_step_trains_the_network_that_stands_in_and_no_other():
    run = Run(Recipe.from_dict(QUICK | {"forget": "3"}))
    learner, bare = run.model.clone(), run.model.clone()
    states, t = torch.zeros(2, *learner.shape), torch.tensor([1, 2])
    with kernels.noted(type(learner), "predict") as calls:
        with torch.no_grad():
            run.model.predict(states, t)
        learner.predict(states, t)
    assert [call.gradient for call in calls] == [False, True]
    kernels.bare_step(calls, bare, torch.optim.SGD(bare.trained.values(), 1.0))
    changed = {name for name, value in bare.trained.items() if not torch.equal(value, run.model.trained[name])}
    assert changed
    assert all(torch.equal(value, run.model.trained[name]) for name, value in learner.trained.items())

"""The soak: its arithmetic, what its visitors note of answers, and a short form against the real app."""

import asyncio

import pytest

from vdu.bench import soak
from vdu.bench.soak import judging, wire
from vdu.bench.soak.crash import MOMENTS, crash
from vdu.bench.soak.hostile import LARGE, bomb
from vdu.bench.soak.judging import Row, is_sentence, percentile, waiting_error
from vdu.bench.soak.ledger import Ledger
from vdu.bench.soak.server import APP, FLAGS, Server, own_address
from vdu.bench.soak.visitors import recipe_of
from vdu.bench.soak.wire import Answer, Layout, RunEnd, Tab, addresses, is_waiting, waiting_seconds, words_of
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe

pytestmark = pytest.mark.own_loop

INVARIANTS = (  # rows that hold on any machine, however slow and busy
    "runs", "answers that never came", "reports of others, or with other figures than alone", "refusals that are no sentence",
    "what a hostile visitor was given", "cycles of start and stop that went wrong", "SIGTERM: files left in the temp folder",
)  # fmt: skip
OURS = {"model": "mnist-ddpm", "forget": "3", "seed": 5}


def test_a_short_soak_loses_nothing_and_crosses_nothing(capsys):
    assert main(["bench", "soak", "--minutes", "0.02"]) in (0, 1)
    rows = dict([cell.strip() for cell in line.split("|")[1:5:3]] for line in capsys.readouterr().out.splitlines())
    assert {name: rows[name] for name in INVARIANTS} == dict.fromkeys(INVARIANTS, "held")


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.05, 1), (0.5, 10), (0.95, 19), (0.951, 20), (1, 20)])
def test_percentiles_of_one_to_twenty(share, value):
    assert percentile([*range(20, 0, -1)], share) == value


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_error_of_told_waits_is_relative_and_leaves_out_short_ones():
    assert waiting_error([(12, 10), (8, 10), (20, 10)]) == pytest.approx(0.2)
    assert waiting_error([(1, 4), (0, 2)]) is None
    assert waiting_error([(40, 4)]) == pytest.approx(9)  # told as long, and was not


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("Seed must be a whole number from 0 to 2,147,483,647, not -1.", True),
        ("'cat' is no class of this model; choose one of 0, 1.", True),
        ("mnist-ddpm has no class 'cat'; its classes are 0, 1.", True),
        ("Ten wait already; come back in about 4 min.", True),
        ("", False), ("null", False), ("Not Found", False), ("Queue is full.", True), ("lower case is no sentence.", False),
        ("'Quotes of Python around a sentence.'", False), ("This has no full stop", False), ("It is long. " * 50, False),
        ("Traceback (most recent call last): it failed.", False),
    ],
)  # fmt: skip
def test_what_a_sentence_is(words, right):
    assert is_sentence(words) is right


def test_rows_judge_by_their_bounds():
    assert judging.bound_row("a", 2.0, 2).held
    assert not judging.bound_row("a", 2.01, 2).held
    assert judging.bound_row("a", None, 2).held is None
    assert judging.growth_row("a", 100, 110, 0.1).held
    assert not judging.growth_row("a", 100, 111, 0.1).held
    assert judging.growth_row("a", 100, 10, 0.1).held
    assert judging.growth_row("a", None, 1, 0.1).held is None
    assert judging.same_row("a", 5, 13, 8).held
    assert not judging.same_row("a", 5, 14, 8).held
    assert judging.quantile_row("a", {"x": [0.1] * 10, "y": [*[0.1] * 9, 9]}, 0.5).held
    slow = judging.quantile_row("a", {"x": [0.1] * 10, "y": [*[0.1] * 8, 9, 9]}, 0.5)
    assert not slow.held
    assert slow.found == ("y: p95 9.00 s of 10",)
    assert judging.quantile_row("a", {}, 0.5).held is None
    assert judging.count_row("a", []).held
    found = judging.count_row("a", ["x | <b>", "y"])
    assert not found.held
    assert found.had == "2: x \\| &lt;b>"


@pytest.mark.parametrize(
    ("words", "seconds", "waits"),
    [
        ('<div class="vdu-status">Waiting: 3 before you, about 90 s.</div>', 90, True),
        ("You wait for about 1 min 30 s", 90, True),
        ("Waiting for your turn", None, True),
        ("Unlearning · 3 of 4 · about 2 s left in this phase", None, False),
        ({"phase": "waiting", "done": 0, "total": 1, "seconds_left": 7.5}, 7.5, True),
        ({"phase": "unlearn", "done": 0, "total": 1, "seconds_left": 7.5}, None, False),
    ],
)
def test_the_wait_that_is_told(words, seconds, waits):
    assert waiting_seconds(words) == seconds
    assert is_waiting(words) is waits


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"error": None}, ""), (None, ""), ({"error": "It is so."}, "It is so."), ({"detail": {"message": "So."}}, "So."),
        ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a b"),
    ],
)  # fmt: skip
def test_the_words_of_an_error(content, words):
    assert words_of(content) == words


def test_reports_of_others_and_other_figures_are_noted():
    report = OURS | {"samples": 50, "before": {"forget_rate": 0.1}, "after": {"forget_rate": 0.04}, "seconds": {"total": 1}}
    ledger = Ledger(alone={4: judging.figures_of(report)})
    ledger.note_run(RunEnd("finished", report | {"seconds": {"total": 2}}), OURS, 4)
    assert ledger.crossed == []
    ledger.note_run(RunEnd("finished", report | {"seed": 6}), OURS, 4)
    assert ledger.crossed == ["asked for seed 5, got 6"]
    ledger.note_run(RunEnd("finished", report | {"after": {"forget_rate": 0.04 + 1e-12}}), OURS, 4)
    assert len(ledger.crossed) == 2
    ledger.note_run(RunEnd("stopped", report | {"after": None}), OURS, 4)  # what a stopped run measured is its own affair
    assert len(ledger.crossed) == 2
    assert ledger.runs == {"asked": 4, "finished": 3, "stopped": 1}


def test_what_is_lost_and_what_is_refused_without_a_sentence_is_noted():
    ledger = Ledger()
    ledger.note("a look", Answer(0, said="ReadError"), quick=True)
    ledger.note("a look", Answer(503, said="Queue is full"), quick=True)
    ledger.note("a look", Answer(503, said="All places are taken; come back in 2 min."))
    ledger.note_run(RunEnd("refused", said=""), OURS, None)
    ledger.note_run(RunEnd("finished", told=None, had=9), OURS, None)
    assert ledger.lost == ["a look: ReadError", "the report of a finished run"]
    assert ledger.mute == ["a look: 503 'Queue is full'", "a run: 0 ''"]
    assert len(ledger.quick["a look"]) == 2
    assert ledger.untold == ["9 s"]


def test_stop_counts_from_its_press_and_only_for_runs_that_it_ended():
    ledger = Ledger()
    ledger.note_run(RunEnd("stopped", stop=Answer(200, seconds=0.1), stopping=0.7), OURS, None)
    ledger.note_run(RunEnd("finished", stop=Answer(200, seconds=0.2), stopping=0.9), OURS, None)
    assert ledger.quick == {"Stop": [0.1, 0.2]}
    assert ledger.stops == [0.7]


CONFIG = {
    "components": [
        {"id": 1, "props": {}},
        {"id": 2, "props": {"label": "Model", "value": "mnist-ddpm"}},
        {"id": 3, "props": {"elem_id": "recipe-steps", "value": 40}},
        {"id": 4, "props": {"value": "Unlearn"}},
        {"id": 5, "props": {"elem_id": "status"}},
    ],
    "dependencies": [
        {"id": 7, "targets": [[4, "click"]], "inputs": [], "outputs": [], "backend_fn": True, "queue": True},
        {"id": 8, "targets": [[4, "click"]], "inputs": [1, 2, 3], "outputs": [1, 5], "backend_fn": True, "queue": True},
        {"id": 9, "targets": [[2, "input"]], "inputs": [], "outputs": [], "backend_fn": False, "queue": False},
    ],
}


def test_listeners_and_inputs_are_found_by_name():
    layout = Layout(CONFIG)
    run = layout.listener("run")
    assert run["id"] == 8
    assert layout.data(run, {"steps": 2}) == [None, "mnist-ddpm", 2]
    assert layout.data(run, {"model": "tiny-sd"}) == [None, "tiny-sd", 40]
    assert layout.data(run, {"steps": 2}, {2: "tiny-sd", 3: 60}) == [None, "tiny-sd", 2]
    assert layout.status(run, [None, "Done."]) == "Done."
    assert layout.status(run, [None, [["replace", [], "Done."]]]) == "Done."
    assert layout.status(run, [None, []]) == ""
    with pytest.raises(LookupError, match="no input of 'Model'"):
        layout.listener("choose")


def test_files_are_found_among_outputs():
    assert addresses([None, {"value": {"path": "/a", "url": "http://x/a"}}, [{"url": "http://x/b"}], "c"]) == [
        "http://x/a",
        "http://x/b",
    ]


def test_an_event_that_ends_before_the_call_is_answered_is_not_waited_for():
    async def scene():
        tab = Tab(wire.client("http://127.0.0.1:1"), Layout(CONFIG), "early")
        assert tab.deliver({"msg": "process_completed", "event_id": "e", "success": True, "output": {}}) == ""
        assert tab.deliver({"msg": "close_stream", "event_id": None}) == "close"
        assert tab.deliver({"msg": "unexpected_error", "event_id": None, "message": "It broke."}) == "It broke."
        messages = [message["msg"] async for message in tab.events("e")]
        await tab.close()
        return messages, tab.over

    assert asyncio.run(scene()) == (["process_completed"], {"e"})


def test_a_server_that_is_gone_is_a_lost_answer():
    async def scene():
        async with wire.client("http://127.0.0.1:1") as http:
            return await wire.send(http, "GET", "/")

    answer = asyncio.run(scene())
    assert answer.status == 0
    assert not answer.refused


def test_every_visitor_has_a_recipe_of_its_own():
    recipes = [Recipe.from_dict(recipe_of(number)) for number in range(soak.VISITORS)]
    assert len({recipe.seed for recipe in recipes}) == soak.VISITORS
    assert {recipe.model for recipe in recipes} == {"mnist-ddpm", "tiny-sd"}
    addresses = {own_address(number) for number in range(soak.VISITORS)}
    assert addresses == {None} or len(addresses) == soak.VISITORS


def test_the_large_pictures_are_small_to_send():
    content = bomb()
    assert len(content) < 2**17 < LARGE**2


def test_what_a_process_leaves_is_seen(tmp_path):
    server = Server(tmp_path)
    (server.temporary / "library").mkdir()
    (server.cache / "layers-1.safetensors").write_bytes(b"whole")
    assert server.files() == set()
    (server.temporary / "vdu-run-1").mkdir()
    (server.temporary / "library" / "file").write_bytes(b"123")
    (server.cache / "tmp1").mkdir()
    (server.cache / "tmp1" / "layers-2.safetensors").write_bytes(b"half")
    assert {path.name for path in server.files()} == {"vdu-run-1", "file", "tmp1", "layers-2.safetensors"}
    server.log.write_text("fine\nTraceback (most recent call last):\n  File\n    line\nValueError: no\nfine\n")
    assert server.tracebacks() == {"ValueError: no": 1}


@pytest.mark.parametrize(
    ("held", "minutes", "right"),
    [(True, 30, True), (False, 30, False), (None, 30, False), (None, 0.1, True), (False, 0.1, False)],
)
def test_the_table_is_written_between_its_marks(held, minutes, right, tmp_path, monkeypatch):
    async def phases(*given):
        return [Row("a thing", "0", "1", held)]

    monkeypatch.setattr(soak, "all_phases", phases)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{soak.MARKS[0]}\nold\n{soak.MARKS[1]}\nafter\n")
    assert soak.soak(minutes, print, page) is right
    assert page.read_text().startswith(f"before\n{soak.MARKS[0]}\n\n| measure |")
    assert page.read_text().endswith(f"\n\n{soak.MARKS[1]}\nafter\n")
    assert "old" not in page.read_text()
    assert "| a thing | 0 | 1 |" in page.read_text()


def test_the_page_has_the_marks_and_the_flags_with_which_the_soak_starts_the_app():
    page = (APP.parent / "docs" / "deploy.md").read_text()
    assert [text for text in (*soak.MARKS, *FLAGS) if text not in page] == []


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match="no place for the table"):
        soak.soak(1, print, tmp_path / "none.md")


@pytest.mark.slow
def test_a_process_that_dies_leaves_nothing_to_the_next(tmp_path):
    rows = asyncio.run(crash(tmp_path, print))
    assert [row for row in rows if not row.held] == []
    assert len(rows) == len(MOMENTS) + 3

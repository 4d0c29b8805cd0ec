"""A run on ZeroGPU, with a stand-in that forks and pickles: its results equal those of one process, bit for bit."""

import dataclasses
import hashlib
import os
import pickle
import signal
from pathlib import Path

import gradio as gr
import httpx
import pytest
import torch
from conftest import LIGHT, QUICK_PROMPTS
from zerogpu import FORK, ZeroGPU

from vdu import samples
from vdu.attacks import complete
from vdu.catalog import CATALOG
from vdu.data.cache import Cache
from vdu.errors import UserError
from vdu.events import Finished, Preview, Progress, StepTaken
from vdu.experiments import go_further, under_attack
from vdu.export import write_run
from vdu.outcome import pack
from vdu.page import gpu
from vdu.page.view import live_view
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.run import REACHED, SPENT, STOPPED, TIMED_OUT
from vdu.sampling import run_to_end
from vdu.task import open_model

pytestmark = pytest.mark.skipif(FORK is None or torch.cuda.is_available(), reason="forks a process that computes")
LARGEST = 20 << 20  # bytes of a message
UNBOUND = {"target": 0.0, "max_damage": 1.0}
OF_TIME = ("seconds", "peak_memory_mib")  # keys of a report


def pristine_hash() -> str:
    """Hash of the shared weights of the two models that the tests change."""
    digest = hashlib.sha256()
    for name in ("mnist-ddpm", "tiny-sd"):
        model, _, _ = open_model(name, "cpu")
        for part in model.unet.state_dict().values():
            digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def watched(hashes: Path):
    """`events_of` that adds a hash of the weights that the worker keeps, before and after each run, to a file."""

    def events_of(*arguments):
        write(hashes)
        try:
            yield from gpu.events_of(*arguments)
        finally:
            write(hashes)

    return events_of


def write(hashes: Path) -> None:
    with hashes.open("a") as file:
        file.write(pristine_hash() + "\n")


@pytest.fixture(scope="module")
def lender(tmp_path_factory):
    """The stand-in, whose worker all tests use again, as its task, and the file of hashes."""
    hashes = tmp_path_factory.mktemp("worker") / "hashes"
    spaces = ZeroGPU()
    yield spaces, spaces.GPU(duration=gpu.lent_seconds)(watched(hashes)), hashes
    spaces.close()


@pytest.fixture
def zerogpu(lender, monkeypatch, quick_layers):
    spaces, task, _ = lender
    monkeypatch.setattr(gpu, "FORKED", task)
    monkeypatch.setattr(samples, "_DRAWN", samples._DRAWN if spaces.process else Cache(1 << 30))  # a new worker draws anew
    monkeypatch.setattr(spaces, "refusal", None)
    return spaces


def never() -> bool:
    return False


def computed(stop=never, **changes):
    """A run by way of the page's function, and its events."""
    run = gpu.open_run(Recipe.from_dict(LIGHT | changes))
    return run, list(gpu.compute(run, stop))


def without_progress(events) -> list[type]:
    """Kinds of events in order; how many tell of progress depends on what a process has drawn before."""
    return [type(event) for event in events if not isinstance(event, Progress)]


def weights(run) -> list[torch.Tensor]:
    return list(run.model.unet.state_dict().values())


def same(one, two) -> bool:
    """Whether two samples or previews are the same, bit for bit."""
    pairs = [(getattr(one, field.name), getattr(two, field.name)) for field in dataclasses.fields(one)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize(
    "changes",
    [LIGHT | UNBOUND | {"method": "vdu", "posterior": "layers"},
     QUICK_PROMPTS | UNBOUND | {"forget": "red", "parameters": "cross-attention"}],
)  # fmt: skip
def test_a_run_is_the_same_as_in_one_process(changes, finished_run, request, tmp_path):
    request.getfixturevalue("quick_layers")
    direct, events = finished_run(**changes)  # first, so that the worker inherits what takes seconds to load
    zerogpu = request.getfixturevalue("zerogpu")
    run, heard = computed(**changes)
    assert without_progress(heard) == without_progress(events)
    assert [event for event in heard if isinstance(event, StepTaken)] == run.steps == direct.steps
    for side in ("before", "after"):
        assert same(getattr(run, side), getattr(direct, side))
    assert same(run.replay.samples, direct.replay.samples)
    assert len(run.previews) == len(direct.previews)
    assert all(same(*pair) for pair in zip(run.previews, direct.previews, strict=True))
    assert all(torch.equal(*pair) for pair in zip(weights(run), weights(direct), strict=True))
    assert (run.figures, run.images_seen, run.scale, run.reason) == (
        direct.figures, direct.images_seen, direct.scale, direct.reason
    )  # fmt: skip
    assert run.reason in (REACHED, SPENT)
    theirs, ours = report_of(direct), write_run(run, tmp_path / "run")
    assert {key for key in ours if ours[key] != theirs[key]} <= {*OF_TIME}
    assert ours["recipe"] == theirs["recipe"]
    assert live_view(run).sheets == live_view(direct).sheets
    assert same(run_to_end(go_further(run, 1.0)), run_to_end(go_further(direct, 1.0)))
    under = (dataclasses.replace(under_attack(it, tmp_path / "nowhere"), images=8) for it in (run, direct))
    found, expected = (run_to_end(complete.ATTACK.carry_out(it)).rows for it in under)
    assert found == expected != []
    assert max(zerogpu.sizes) < LARGEST
    assert zerogpu.asked[-1] == gpu.USUAL_SECONDS + gpu.SPARE_SECONDS


def test_a_worker_that_is_used_again_keeps_the_weights_of_its_models(zerogpu, lender):
    run = gpu.open_run(Recipe.from_dict(LIGHT | {"method": "vdu", "posterior": "layers"}))
    for event in gpu.compute(run, never):
        if isinstance(event, StepTaken):
            break  # the visitor has left
    worker = zerogpu.process.pid
    assert computed(forget="8")[0].steps
    assert zerogpu.process.pid == worker
    assert len(hashes := lender[2].read_text().split()) >= 4
    assert {*hashes} == {pristine_hash()}


def test_stop_ends_a_run_with_what_it_has(zerogpu, tmp_path):
    seen = []
    run = gpu.open_run(Recipe.from_dict(LIGHT | {"steps": 2000}))
    for event in gpu.compute(run, lambda: any(isinstance(event, StepTaken) for event in seen)):
        seen.append(event)
    assert not any(isinstance(event, Finished) for event in seen)
    assert 0 < len(run.steps) < 2000
    assert run.reason == STOPPED
    assert run.figures.keys() == {"before"}
    untouched = open_model("mnist-ddpm", "cpu")[0].unet.state_dict().values()
    assert not all(torch.equal(*pair) for pair in zip(weights(run), untouched, strict=True))
    assert write_run(run, tmp_path / "run")["after"] is None


def test_a_run_ends_before_its_time_is_over(tmp_path):
    messages = list(map(pickle.loads, gpu.events_of(Recipe.from_dict(LIGHT), "", tmp_path / "stop", gpu.SPARE_SECONDS)))
    assert messages[-1].left["reason"] == TIMED_OUT


def test_time_asked_for_is_bounded(zerogpu):
    run = gpu.open_run(Recipe.from_dict(LIGHT))
    next(events := gpu.compute(run, never, lambda recipe: 1e6))
    events.close()
    assert zerogpu.asked[-1] == gpu.MOST_SECONDS


def test_the_sentence_of_the_other_process_arrives(zerogpu, tmp_path):
    pictures = CATALOG["mnist-ddpm"].folder  # without a picture
    with pytest.raises(UserError) as direct:
        list(gpu.here(gpu.open_run(Recipe.from_dict(LIGHT | {"pictures": str(pictures)})), never))
    with pytest.raises(UserError) as forked:
        computed(pictures=str(pictures))
    assert str(forked.value) == str(direct.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [(gr.Error("You have exceeded your free ZeroGPU quota (60s requested vs. 3s left). Try again in 1:02:03. ",
               title="ZeroGPU quota exceeded"), "come back in 1:02:03, or log in"),
     (gr.Error("Space app has reached its GPU limit.", title="ZeroGPU quota exceeded"), "come back later"),
     (gr.Error("The requested GPU duration (120s) is larger than the maximum allowed", title="ZeroGPU illegal duration"),
      "fewer samples or steps"),
     (gr.Error("No GPU was available after 60s", title="ZeroGPU queue timeout"), "try again later"),
     (gr.Error("OutOfMemoryError", title="ZeroGPU worker error"), "smaller batch size"),
     (gr.Error("ZeroDivisionError", title="ZeroGPU worker error"), r"on the GPU \(ZeroDivisionError\)"),
     (RuntimeError("ZeroGPU API /schedule error: 500"), "does not answer"),
     (httpx.ConnectError("refused"), "does not answer")],
)  # fmt: skip
def test_every_error_of_zerogpu_becomes_a_sentence(error, words, zerogpu):
    zerogpu.refusal = error
    with pytest.raises(UserError, match=words):
        computed()


def test_a_worker_that_is_killed_is_reported_and_changes_nothing(monkeypatch):
    spaces = ZeroGPU()
    monkeypatch.setattr(gpu, "FORKED", spaces.GPU(duration=gpu.lent_seconds)(gpu.events_of))
    run = gpu.open_run(Recipe.from_dict(LIGHT))
    untouched = [value.clone() for value in weights(run)]
    try:
        with pytest.raises(UserError, match="taken back"):
            for event in gpu.compute(run, never):
                if isinstance(event, Preview) and event.step:
                    os.kill(spaces.process.pid, signal.SIGKILL)
        assert all(torch.equal(*pair) for pair in zip(weights(run), untouched, strict=True))
    finally:
        spaces.close()


def test_tensors_travel_by_value_and_without_what_they_are_a_view_of():
    whole = torch.arange(100_000, dtype=torch.float64)
    data = pack({"part": whole[:10], "last": torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)})
    assert len(data) < 3000
    part = pickle.loads(data)["part"]
    part += 1
    assert torch.equal(part, torch.arange(1, 11, dtype=torch.float64))
    assert torch.equal(whole[:3], torch.tensor([0.0, 1, 2], dtype=torch.float64))


def test_without_zerogpu_a_run_is_computed_here(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert gpu.with_gpu(gpu.events_of) is gpu.FORKED is None
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert not gpu.on_zerogpu()
    run = gpu.open_run(Recipe.from_dict(LIGHT | {"steps": 4}))
    assert len(list(gpu.compute(run, lambda: len(run.steps) > 1))) > 1
    assert (len(run.steps), run.machine) == (2, None)


def test_only_full_size_models_refuse_drawings_on_zerogpu(zerogpu, monkeypatch):
    run = gpu.open_run(Recipe.from_dict(LIGHT))
    gpu.check_drawing(run)
    monkeypatch.setattr(gpu, "kind_of", lambda name: gpu.FULL_SIZE)
    with pytest.raises(UserError, match="only during runs"):
        gpu.check_drawing(run)

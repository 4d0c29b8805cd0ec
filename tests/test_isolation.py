"""What runs share stays as it was, whatever becomes of them; and runs that compute in turns are what each is alone."""

import hashlib
from contextlib import closing, suppress
from itertools import zip_longest

import pytest
import torch
from conftest import LIGHT

from vdu.bench.soak.judging import figures_of
from vdu.events import Measured, StepTaken
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.run import Run
from vdu.task import open_model
from vdu.unlearn import unlearn

MODELS = {"mnist-ddpm": "3", "tiny-sd": "red"}
METHODS = [("mnist-ddpm", "vdu-f"), ("mnist-ddpm", "vdu"), ("mnist-ddpm", "salun"), ("tiny-sd", "vdu-f")]
TURNS = {"forget": "3"}, {"forget": "8", "seed": 4}


def run_of(**changes) -> Run:
    return Run(Recipe.from_dict(LIGHT | changes))


def shared_hash() -> str:
    """A hash of all that runs share: weights and modes of every part of a model, and of its judge."""
    found = hashlib.sha256()
    for name in MODELS:
        model, _, entry = open_model(name, "cpu")
        parts = [getattr(model, part) for part in model.PARTS]
        for part in [part for part in parts if isinstance(part, torch.nn.Module)] + entry.judge.classifiers:
            found.update(repr([inner.training for inner in part.modules()]).encode())
            for value in part.state_dict().values():
                found.update(
                    f"{value.dtype} {tuple(value.shape)}".encode() + value.reshape(-1).view(torch.uint8).numpy().tobytes()
                )
    return found.hexdigest()


@pytest.fixture(scope="module")
def pristine():
    return shared_hash()


@pytest.mark.parametrize(("model", "method"), METHODS)
def test_a_run_leaves_what_is_shared_as_it_was(model, method, pristine, quick_layers):
    run = run_of(model=model, forget=MODELS[model], method=method, **{"posterior": "layers"} if method == "vdu" else {})
    list(unlearn(run))
    assert run.after is not None
    untouched = open_model(model, "cpu")[0].unet.state_dict()
    assert any(not torch.equal(value, untouched[name]) for name, value in run.model.unet.state_dict().items())
    assert shared_hash() == pristine


@pytest.mark.parametrize("last", [Measured, StepTaken])
def test_a_run_that_is_left_leaves_what_is_shared_as_it_was(last, pristine):
    with closing(unlearn(run_of(steps=2000))) as events:
        assert any(isinstance(event, last) for event in events)
    assert shared_hash() == pristine


def test_a_run_that_fails_leaves_what_is_shared_as_it_was(pristine, monkeypatch):
    class Broken(Exception):
        """A defect."""

    def fail(*given, **named):
        raise Broken

    run = run_of()
    with suppress(Broken):
        for event in unlearn(run):
            if isinstance(event, StepTaken):
                monkeypatch.setattr(torch.nn.Module, "__call__", fail)
    monkeypatch.undo()
    assert run.steps
    assert run.after is None
    assert shared_hash() == pristine


def test_runs_in_turns_are_what_each_is_alone():
    alone, runs = ([run_of(**changes) for changes in TURNS] for _ in range(2))
    for run in alone:
        list(unlearn(run))
    list(zip_longest(*map(unlearn, runs)))  # an event of each in turn
    for run, other in zip(runs, alone, strict=True):
        assert figures_of(report_of(run)) == figures_of(report_of(other))
        assert torch.equal(run.after.images, other.after.images)
        weights, others = (one.model.unet.state_dict() for one in (run, other))
        assert all(torch.equal(weights[name], others[name]) for name in others)
    assert not torch.equal(runs[0].after.images, runs[1].after.images)

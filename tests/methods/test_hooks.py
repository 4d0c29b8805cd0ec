"""The optional hooks of a method: a look at batches beforehand, a mask of the gradients, its own choice of x_t."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from conftest import carry_out, take_steps

from vdu.events import Clock, Progress
from vdu.methods import METHODS, NoisyImages
from vdu.methods.neggrad import plasticity_alone
from vdu.run import Run
from vdu.task import open_model

UNBOUND = {"method": "neggrad", "max_damage": 1.0, "target": 0.0, "replay": 24, "sampler_steps": 2}
ONE_STEP = {"optimizer": "one-step", "posterior": "isotropic", "gamma": 0.5}
LOOKS = 3  # batches that the method of this test prepares with


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.unet.named_parameters()}


@pytest.fixture
def start() -> dict[str, torch.Tensor]:
    """The weights that a run starts from."""
    return parameters(open_model("mnist-ddpm", "cpu")[0])


@pytest.fixture
def method(monkeypatch):
    """A function that replaces NegGrad, which has no hooks, by a changed copy."""

    def put(**hooks) -> None:
        monkeypatch.setitem(METHODS, "neggrad", replace(METHODS["neggrad"], **hooks))

    return put


def look_first(batches):
    """Counts some batches, with progress; the count is the state of a method."""
    clock, seen = Clock("prepare", LOOKS), []
    for done, batch in enumerate(islice(batches, LOOKS), start=1):
        seen.append(batch.forget.t.tolist())
        yield clock.progress(done)
    return {"seen": seen}


@pytest.mark.parametrize("changes", [{}, ONE_STEP], ids=["steps", "one-step"])
def test_what_it_prepares_reaches_its_loss_and_its_mask(changes, method, start):
    lost, masked = [], []

    def loss(batch, state):
        lost.append((state, batch.forget.t.tolist()))
        return plasticity_alone(batch)

    def mask(state):
        masked.append(state)
        return {name: torch.ones(()) for name in start}

    method(prepare=look_first, loss=loss, mask=mask)
    run, events = take_steps(**UNBOUND, **changes)
    progress = [event for event in events if isinstance(event, Progress) and event.phase == "prepare"]
    assert [(event.done, event.total) for event in progress] == [(done, LOOKS) for done in range(1, LOOKS + 1)]
    assert len(lost) == len(masked) == len(run.steps) == run.recipe.steps
    (state,) = {id(state): state for state, _ in lost}.values()
    assert all(one is state for one in masked)
    assert len(state["seen"]) == LOOKS
    assert not [t for _, t in lost if t in state["seen"]]  # the steps go on in the same stream of batches


@pytest.mark.parametrize("changes", [{}, {"optimizer": "natural", "posterior": "isotropic"}, ONE_STEP],
                         ids=["adam", "natural", "one-step"])  # fmt: skip
def test_what_a_mask_of_zeros_covers_stays_bit_for_bit(changes, method, start):
    before = start
    fixed = {name for place, name in enumerate(before) if place % 2}
    method(mask=lambda state: {name: torch.full_like(value, float(name not in fixed)) for name, value in before.items()})
    run, _ = carry_out(**UNBOUND, **changes)
    moved = {name for name, value in parameters(run.model).items() if not torch.equal(value, before[name])}
    assert run.scale > 0
    assert moved
    assert not moved & fixed


def test_a_mask_of_ones_changes_nothing(method, start):
    unmasked, _ = take_steps(**UNBOUND)
    method(mask=lambda state: {name: torch.ones_like(value) for name, value in start.items()})
    run, _ = take_steps(**UNBOUND)
    for name, value in parameters(run.model).items():
        assert torch.equal(value, parameters(unmasked.model)[name])


@pytest.mark.parametrize("changes", [{}, ONE_STEP], ids=["steps", "one-step"])
def test_it_may_choose_the_states_that_its_loss_sees(changes, method):
    chosen, lost = [], []

    def choose(batch) -> NoisyImages:
        assert not torch.is_grad_enabled()
        chosen.append(replace(batch.forget, states=torch.randn(batch.forget.states.shape, generator=batch.random)))
        return chosen[-1]

    def loss(batch, state):
        lost.append(batch.forget)
        return plasticity_alone(batch)

    method(choose_states=choose, loss=loss)
    run, _ = take_steps(**UNBOUND, **changes)
    assert [id(images) for images in lost] == [id(images) for images in chosen]
    assert len(lost) == run.recipe.steps
    assert not torch.equal(lost[0].states, lost[1].states)


def test_a_method_without_a_need_for_a_posterior_gets_none_unless_the_optimizer_needs_it(method):
    given = []

    def loss(batch, state):
        given.append(batch.posterior)
        return plasticity_alone(batch)

    method(loss=loss)
    take_steps(**UNBOUND)
    assert set(given) == {None}
    method(loss=loss, needs_posterior=True)
    run = take_steps(**UNBOUND, posterior="isotropic").run
    assert isinstance(run, Run)
    assert given[-1] is run.posterior
    assert run.posterior.variance.keys() == run.model.trained.keys()


@pytest.mark.parametrize("declared", [False, True])
def test_a_retain_set_is_given_to_a_method_that_declares_one(declared, method):
    given = []

    def loss(batch, state=None):
        given.extend([batch.replay, batch.kept_set])
        return plasticity_alone(batch)

    method(loss=loss, uses_retain_set=declared)
    run, _ = take_steps(**UNBOUND)
    assert given
    assert all((part is not None) == declared for part in given)
    assert (run.images_seen["retain_drawn"] > 0) == declared

"""The loop: whole runs, stopped runs, the rules that end them, and what they must not change."""

from dataclasses import replace

import pytest
import torch
from conftest import QUICK, carry_out, take_steps

from vdu.errors import BrokenImages, UserError
from vdu.events import Finished, Measured, Preview, StepTaken
from vdu.methods import METHODS
from vdu.methods.base import Terms
from vdu.models import UNCONDITIONAL
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.report import report_of
from vdu.run import BROKEN, DAMAGED, REACHED, SPENT, STOPPED, Run
from vdu.sampling import run_to_end
from vdu.steps import PATIENCE, SETTLING
from vdu.task import open_model
from vdu.unlearn import unlearn

UNBOUND = {"max_damage": 1.0, "target": 0.0}  # nothing but the number of steps ends the run


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.unet.parameters()])


def pristine() -> torch.Tensor:
    return weights(open_model("mnist-ddpm", "cpu")[0])


def without_times(report):
    return {name: value for name, value in report.items() if name not in ("seconds", "peak_memory_mib")}


@pytest.mark.parametrize("method", [name for name, it in METHODS.items() if it.loss and UNCONDITIONAL in it.defaults])
def test_a_run_tells_its_story_in_order_and_changes_only_its_own_copy(method, finished_run):
    before = pristine()
    run, events = finished_run(method=method, **UNBOUND)
    kinds = [type(event) for event in events if isinstance(event, Preview | StepTaken | Measured | Finished)]
    assert kinds == [Preview, Measured, StepTaken, StepTaken, Preview, StepTaken, Preview, Measured, Finished]
    assert run.reason in (REACHED, SPENT)
    assert torch.equal(pristine(), before)
    assert not torch.equal(weights(run.model), before)


def test_the_events_carry_what_the_run_holds(finished_run):
    run, events = finished_run(**UNBOUND)
    sides = {event.side: event.figures for event in events if isinstance(event, Measured)}
    assert sides == run.figures
    assert list(sides) == ["before", "after"]
    assert "retained_drift" in sides["after"]  # which only compares
    assert "retained_drift" not in sides["before"]
    assert [event for event in events if isinstance(event, StepTaken)] == run.steps
    previews = [event for event in events if isinstance(event, Preview)]
    assert [look.step for look in run.previews] == [0, 2, 3]  # the last one after the change was scaled
    assert [id(look) for look in previews] == [id(look) for look in run.previews]
    assert events[-1] == Finished(run.reason)


def test_the_same_recipe_gives_the_same_report(finished_run):
    first, second = (without_times(report_of(one.run)) for one in (finished_run(), carry_out()))
    assert first == second
    assert without_times(report_of(finished_run(seed=2).run))["after"] != first["after"]


def test_a_closed_run_keeps_what_it_has_and_leaves_the_shipped_model_alone():
    before = pristine()
    run = Run(Recipe.from_dict(QUICK))
    stream = unlearn(run)
    for event in stream:
        if isinstance(event, StepTaken) and event.step == 2:
            stream.close()
    assert run.reason == STOPPED
    assert len(run.steps) == 2
    assert torch.equal(pristine(), before)
    report = report_of(run)
    assert report["after"] is None
    assert report["before"]["forget_rate_ci95"][0] <= report["before"]["forget_rate"]


def test_it_settles_and_stops_once_the_target_is_met(finished_run):
    run, _ = finished_run(steps=20, target=1.0)
    assert run.reason == REACHED
    assert len(run.steps) == PATIENCE * QUICK["preview_every"] + round(SETTLING * 20)


def test_it_stops_when_the_kept_classes_suffer(finished_run):
    run, _ = finished_run(method="neggrad", step_size=0.05, steps=20, target=0.0, max_damage=0.05, sampler_steps=3, replay=48)
    assert run.reason == DAMAGED
    assert len(run.steps) < 20


@pytest.mark.parametrize("optimizer", ["adam", "one-step"])
def test_it_stops_when_the_loss_is_no_longer_finite_and_keeps_the_last_whole_weights(optimizer, monkeypatch):
    ascent, calls = METHODS["neggrad"].loss, []

    def breaks(batch, state) -> Terms:
        calls.append(batch)
        terms = ascent(batch, state)
        return terms._replace(loss=terms.loss * (float("nan") if len(calls) == 3 else 1))

    monkeypatch.setitem(METHODS, "neggrad", replace(METHODS["neggrad"], loss=breaks))
    run, _ = carry_out(method="neggrad", optimizer=optimizer, posterior="isotropic", gamma=0.5, steps=200, preview_every=500)
    assert run.reason == BROKEN
    assert len(run.steps) == 3
    assert weights(run.model).isfinite().all()


def test_a_step_that_breaks_the_weights_while_the_loss_is_still_finite_does_not_reach_the_average(monkeypatch):
    ascent, calls = METHODS["neggrad"].loss, []

    def breaks(batch, state) -> Terms:
        calls.append(batch)
        terms = ascent(batch, state)
        # A finite loss whose gradient is not.
        return terms._replace(loss=terms.loss + (terms.loss * 0).clamp(min=0).sqrt() if len(calls) == 2 else terms.loss)

    monkeypatch.setitem(METHODS, "neggrad", replace(METHODS["neggrad"], loss=breaks))
    run, _ = carry_out(method="neggrad", optimizer="adam", gamma=0.5, steps=50, preview_every=500)
    assert (run.reason, len(run.steps)) == (BROKEN, 2)
    assert run.steps[-1].loss == run.steps[-1].loss
    assert weights(run.model).isfinite().all()


def test_changes_after_which_nothing_is_drawn_are_not_kept(monkeypatch):
    again = Replay.draw_again

    def broken(replay, phase, model, rows):
        if len(calls) < 2:
            calls.append(phase)
            yield from ()
            raise BrokenImages("nothing but single colours")
        return (yield from again(replay, phase, model, rows))

    calls = []
    monkeypatch.setattr(Replay, "draw_again", broken)
    run, _ = carry_out(steps=4, preview_every=2, max_damage=1.0)
    assert calls == ["preview", "scale"]
    assert run.reason == DAMAGED
    assert len(run.steps) == 2
    assert run.scale < 0.8  # the middle of the search, which drew nothing
    assert run.after is not None


def test_without_real_pictures_the_models_own_are_used_and_too_few_are_refused(finished_run):
    counts = finished_run().run.replay.samples.classes[:, 0].bincount(minlength=10)
    most = {"forget": str(counts.argmax().item()), "max_damage": 1.0, "steps": 1, "preview_every": 1}
    own, again = (take_steps(**most, forget_source="model", forget_images=many).run for many in (8, 500))
    assert torch.equal(weights(own.model), weights(again.model))  # no real picture has been looked at
    assert own.images_seen["forget_real"] == 0
    real, _ = take_steps(**most, forget_images=8)
    assert not torch.equal(weights(own.model), weights(real.model))
    assert real.images_seen["forget_real"] == 8
    rarest = str(finished_run().run.replay.samples.classes[:, 0].bincount(minlength=10).argmin().item())
    with pytest.raises(UserError, match=f"the judge saw only \\d of {rarest}"):
        carry_out(forget=rarest, forget_source="model")


def test_the_one_step_solution_solves_the_linearised_loss():
    # With sigma* the same everywhere, theta - mu* = P (1 - gamma) / gamma sigma*^2 g: halving the odds halves the way.
    start = pristine()
    ways = []
    for gamma in (10 / 11, 20 / 21):  # short ways, whose images are whole on every processor
        run = Run(
            Recipe.from_dict(QUICK | {"method": "vdu", "optimizer": "one-step", "posterior": "isotropic", "gamma": gamma})
        )
        for event in unlearn(run):
            if isinstance(event, Preview) and event.step:
                break  # before it is scaled
        ways.append(weights(run.model) - start)
        assert len(run.steps) == QUICK["steps"]
        assert all(taken.stability == 0 for taken in run.steps)  # no step is taken on the way
    assert (ways[0] - 2 * ways[1]).norm() < 0.01 * ways[0].norm()  # gradients are in bfloat16 where the machine has it
    assert ways[0].norm() > 0


@pytest.mark.parametrize("parameters", ["cross-attention", "keys-values"])
def test_a_model_that_takes_no_words_has_no_cross_attention(parameters):
    with pytest.raises(UserError, match=f"no {parameters} parameters"):
        run_to_end(unlearn(Run(Recipe.from_dict(QUICK | {"parameters": parameters}))))

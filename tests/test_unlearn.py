"""The loop: whole runs, stopped runs, and what they must leave alone."""

import pytest
import torch
from conftest import QUICK

from vdu.catalog import open_model
from vdu.data import choose
from vdu.errors import UserError
from vdu.events import Finished, Measured, Preview, StepTaken
from vdu.methods import METHODS
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.sampling import drain
from vdu.unlearn import (
    BROKEN,
    DAMAGED,
    LARGE_SCALES,
    REACHED,
    SCALE_ROWS,
    SCALES,
    SMALL_SCALES,
    SPENT,
    STOPPED,
    Run,
    further,
    place,
    unlearn,
)


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.unet.parameters()])


def finished(**values) -> tuple[Run, list]:
    run = Run(Recipe.from_dict(QUICK | values))
    return run, list(unlearn(run))


def without_times(report):
    return {name: value for name, value in report.items() if name not in ("seconds", "peak_memory_mib")}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_tells_its_story_in_order_and_changes_only_its_own_copy(method):
    pristine = weights(open_model("mnist-ddpm", "cpu")[0])
    run, events = finished(method=method, max_damage=1.0, target=0.0)
    kinds = [type(event) for event in events if isinstance(event, Preview | StepTaken | Measured | Finished)]
    steps, look = [StepTaken] * 2, [Preview]
    assert kinds == [Preview, Measured, *steps, *look, *steps, *look, Measured, Finished]
    assert run.reason == SPENT
    assert torch.equal(weights(open_model("mnist-ddpm", "cpu")[0]), pristine)
    assert not torch.equal(weights(run.model), pristine)


def test_the_same_recipe_gives_the_same_report():
    first, second = (without_times(report_of(finished(seed=1)[0])) for _ in range(2))
    assert first == second
    assert without_times(report_of(finished(seed=2)[0]))["after"] != first["after"]


def test_a_closed_run_keeps_what_it_has_and_leaves_the_shipped_model_alone():
    pristine = weights(open_model("mnist-ddpm", "cpu")[0])
    run = Run(Recipe.from_dict(QUICK))
    stream = unlearn(run)
    for event in stream:
        if isinstance(event, StepTaken) and event.step == 2:
            stream.close()
    assert run.reason == STOPPED
    assert len(run.steps) == 2
    assert torch.equal(weights(open_model("mnist-ddpm", "cpu")[0]), pristine)
    report = report_of(run)
    assert report["after"] is None
    assert report["before"]["forget_rate_ci95"][0] <= report["before"]["forget_rate"]


def test_it_settles_and_stops_once_the_target_is_met():
    run, _ = finished(steps=20, preview_every=2, target=1.0, patience=2)
    assert run.reason == REACHED
    assert len(run.steps) == 4 + 7  # two previews that meet the target, then 35 % of 20 steps to settle


def test_it_stops_when_the_kept_classes_suffer():
    run, _ = finished(method="neggrad", step_size=0.05, steps=20, preview_every=2, target=0.0, max_damage=0.2)
    assert run.reason == DAMAGED
    assert len(run.steps) < 20


def test_it_stops_when_the_loss_is_no_longer_finite():
    run, _ = finished(method="neggrad", optimizer="sgd", step_size=10.0, steps=200, preview_every=500, max_damage=1.0)
    assert run.reason == BROKEN


def test_fewer_forget_images_are_a_subset_of_more():
    assert choose(500, 8, seed=0) == choose(500, 100, seed=0)[:8]
    assert choose(500, 8, seed=0) != choose(500, 8, seed=1)
    assert sorted(choose(500, 500, seed=0)) == list(range(500))


def test_a_scale_of_0_is_the_start_and_of_1_the_end():
    start, _ = open_model("mnist-ddpm", "cpu")
    start.train_only("all")
    model, end = start.clone(), start.clone()
    with torch.no_grad():
        for parameter in end.unet.parameters():
            parameter += 1
    place(model, start, end, 0.0)
    assert torch.equal(weights(model), weights(start))
    place(model, start, end, 1.0)
    assert torch.equal(weights(model), weights(end))
    place(model, start, end, 1.5)
    assert torch.allclose(weights(model), weights(start) + 1.5, atol=1e-5)


def test_it_goes_no_further_than_the_target_asks_for():
    run, _ = finished(target=1.0)
    assert run.scale == min(SCALES[False])
    assert run.reason == REACHED


def test_it_goes_as_far_as_it_may_for_a_target_out_of_reach():
    run, _ = finished(target=0.0, max_damage=1.0, step_size=1e-6)
    assert run.scale == max(SCALES[False])
    assert run.reason == SPENT


def test_a_length_that_was_only_guessed_may_be_many_times_too_short_or_too_long():
    guessed = {"method": "vdu", "optimizer": "one-step", "posterior": "isotropic", "gamma": 0.9999, "max_damage": 1.0}
    assert finished(**guessed, target=0.0)[0].scale == max(LARGE_SCALES)
    assert finished(**guessed, target=1.0)[0].scale == min(SMALL_SCALES)


def test_a_damaged_model_is_brought_back_to_where_it_was_whole():
    run, _ = finished(method="neggrad", step_size=0.01, steps=6, preview_every=2, target=0.0, max_damage=0.2)
    assert run.reason == DAMAGED
    assert run.scale < 1
    rows = run.replay.rows(*SCALE_ROWS[False])
    _, _, damage = run.replay.compare(rows, drain(run.replay.draw_again("scale", run.model, rows)))
    assert damage <= 0.2


def test_little_damage_allowed_is_a_short_way_and_none_is_no_way():
    scales = []
    for allowed in (0.02, 0.3, 1.0):
        run, _ = finished(method="neggrad", step_size=0.002, steps=4, preview_every=5, target=0.0, max_damage=allowed)
        scales.append(run.scale)
    assert scales == sorted(scales)
    assert scales[0] < min(SCALES[False]) <= scales[-1]


def test_further_draws_another_model_and_leaves_the_run_alone():
    run, _ = finished(target=0.0, max_damage=1.0)
    kept = weights(run.model)
    untouched, here = (drain(further(run, factor)) for factor in (0.0, 1.0))
    assert torch.equal(untouched.images, run.previews[0].images)
    assert torch.equal(here.images, run.previews[-1].images)
    assert torch.equal(weights(run.model), kept)


def test_where_the_kept_images_stand_nothing_the_model_stays_as_it_was():
    run, _ = finished(method="neggrad", step_size=0.2, target=0.0, max_damage=0.0)
    assert run.scale == 0.0
    assert torch.equal(weights(run.model), weights(open_model("mnist-ddpm", "cpu")[0]))
    report = report_of(run)
    assert report["after"]["forget_rate"] == report["before"]["forget_rate"]


def test_without_real_pictures_the_models_own_are_used_and_too_few_are_refused():
    own, _ = finished(replay=256, forget_source="model", forget_images=8, max_damage=1.0)
    again, _ = finished(replay=256, forget_source="model", forget_images=500, max_damage=1.0)
    assert torch.equal(weights(own.model), weights(again.model))  # no real picture has been looked at
    real, _ = finished(replay=256, forget_images=8, max_damage=1.0)
    assert not torch.equal(weights(own.model), weights(real.model))
    rarest = str(finished(replay=40)[0].replay.samples.classes[:, 0].bincount(minlength=10).argmin().item())
    with pytest.raises(UserError, match=f"the judge saw only \\d of {rarest}"):
        finished(forget=rarest, replay=40, forget_source="model")


def test_the_one_step_solution_solves_the_linearised_loss():
    # With sigma* the same everywhere, theta - mu* = P (1 - gamma) / gamma sigma*^2 g: halving the odds halves the way.
    start = weights(open_model("mnist-ddpm", "cpu")[0])
    ways = []
    for gamma in (0.5, 2 / 3):
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


def test_further_along_the_way_fewer_seeds_of_the_class_still_draw_it():
    run, _ = finished(steps=24, batch_size=24, replay=256, preview_every=24, step_size=1e-3, sampler_steps=8, target=0.0)
    of_class = run.replay.of_class[run.replay.grid]
    start, end = (drain(further(run, factor)).forgotten[of_class] for factor in (0.0, 1.6 / run.scale))
    assert start.all()  # they were chosen because the frozen model draws the class there
    assert end.double().mean() < 0.6


def test_one_kept_image_that_newly_shows_the_class_does_not_keep_a_run_from_settling():
    run, _ = finished(replay=256, max_damage=1.0)
    replay, grid = run.replay, run.replay.grid
    of_class = replay.of_class[grid]

    def rate(newly: int) -> float:
        drawn = replay.of(grid)
        drawn.classes[of_class] = (int(run.recipe.forget) + 1) % 10
        drawn.classes[(~of_class).nonzero()[:newly, 0]] = int(run.recipe.forget)
        return replay.forget_rate_to_steer_by(grid, drawn)

    assert rate(0) == 0
    assert 0 < rate(1) < 0.006 < rate(2)
    assert replay.forget_rate_to_steer_by(grid, replay.of(grid)) == replay.share

"""The scale: how far a run goes along the line from the start to the end of its steps."""

import pytest
import torch
from conftest import QUICK

from vdu.report import report_of
from vdu.run import DAMAGED, REACHED, SPENT
from vdu.sampling import run_to_end
from vdu.scale import (
    CLOSED_FORM_SEARCH,
    LARGE_SCALES,
    PROMPTED_SEARCH,
    UNPROMPTED_SEARCH,
    search_of,
    set_weights_between,
)
from vdu.task import open_model

SCALES = UNPROMPTED_SEARCH.scales


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.unet.parameters()])


def test_a_scale_of_0_is_the_start_and_of_1_the_end():
    start, _, _ = open_model("mnist-ddpm", "cpu")
    start.train_only("all")
    model, end = start.clone(), start.clone()
    with torch.no_grad():
        for parameter in end.unet.parameters():
            parameter += 1
    set_weights_between(model, start, end, 0.0)
    assert torch.equal(weights(model), weights(start))
    set_weights_between(model, start, end, 1.0)
    assert torch.equal(weights(model), weights(end))
    set_weights_between(model, start, end, 1.5)
    assert torch.allclose(weights(model), weights(start) + 1.5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "optimizer", "search"),
    [
        ("mnist-ddpm", "adam", UNPROMPTED_SEARCH),
        ("mnist-ddpm", "one-step", UNPROMPTED_SEARCH),
        ("tiny-sd", "adam", PROMPTED_SEARCH),
        ("tiny-sd", "closed-form", CLOSED_FORM_SEARCH),
    ],
)
def test_where_to_look_depends_on_prompts_and_the_optimizer_and_the_scales_rise(model, optimizer, search):
    assert search_of(open_model(model, "cpu")[0], optimizer) is search
    for scales in (search.smaller, search.scales):
        assert list(scales) == sorted(scales)
    assert max(search.smaller) < search.scales[0] < search.scales[-1] < min(LARGE_SCALES)


def test_an_exact_solution_is_taken_whole_unless_that_damages_too_much(finished_run):
    uce = {"model": "tiny-sd", "forget": "red", "method": "uce", "replay": 24, "sampler_steps": 2, "optimizer": "closed-form"}
    assert finished_run(**uce, target=1.0, max_damage=1.0).run.scale == 1.0
    assert finished_run(**uce, reach=10.0, target=0.0, max_damage=0.0).run.scale < 1.0  # ten times the solution


def test_it_goes_no_further_than_the_target_asks_for(finished_run):
    run, _ = finished_run(target=1.0)
    assert run.scale == min(SCALES)
    assert run.reason == REACHED


def test_it_goes_as_far_as_it_may_for_a_target_out_of_reach(finished_run):
    run, _ = finished_run(target=0.0, max_damage=1.0, step_size=1e-6)
    assert run.scale == max(SCALES)
    assert run.reason == SPENT


def test_a_length_that_was_only_guessed_may_be_many_times_too_short_or_too_long(finished_run):
    guessed = {"method": "vdu", "optimizer": "one-step", "posterior": "isotropic", "gamma": 0.9999, "max_damage": 1.0}
    guessed |= {"replay": 24, "sampler_steps": 2}
    assert finished_run(**guessed, target=0.0).run.scale == max(LARGE_SCALES)
    assert finished_run(**guessed, target=1.0).run.scale == min(UNPROMPTED_SEARCH.smaller)


def test_a_damaged_model_is_brought_back_to_where_it_was_whole(finished_run):
    run, _ = finished_run(method="neggrad", step_size=0.01, steps=6, target=0.0, max_damage=0.2)
    assert run.reason == DAMAGED
    assert run.scale < 1
    rows = run.replay.rows(*UNPROMPTED_SEARCH.rows)
    _, _, damage = run.replay.compare(rows, run_to_end(run.replay.draw_again("scale", run.model, rows)))
    assert damage <= 0.2


def test_little_damage_allowed_is_a_short_way_and_none_is_no_way(finished_run):
    scales = []
    for allowed in (0.02, 0.3, 1.0):
        run, _ = finished_run(method="neggrad", step_size=0.002, preview_every=5, target=0.0, max_damage=allowed)
        scales.append(run.scale)
    assert scales == sorted(scales)
    assert scales[0] < min(SCALES) <= scales[-1]


def test_where_the_kept_images_stand_nothing_the_model_stays_as_it_was(finished_run):
    run, _ = finished_run(method="neggrad", step_size=0.2, target=0.0, max_damage=0.0)
    assert run.scale == 0.0
    assert torch.equal(weights(run.model), weights(open_model("mnist-ddpm", "cpu")[0]))
    report = report_of(run)
    assert report["after"]["forget_rate"] == report["before"]["forget_rate"]
    assert report["steps_taken"] <= QUICK["steps"]
    assert report["forgotten"] == []  # nothing was forgotten

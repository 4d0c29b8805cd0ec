"""Experiments on a finished run, which do not change it."""

import pytest
import torch
from conftest import QUICK_PROMPTS, take_steps

from vdu.experiments import IMAGES_PER_PROMPT, go_further, try_prompt
from vdu.sampling import run_to_end


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.unet.parameters()])


def test_to_go_further_draws_another_model_and_leaves_the_run_alone(finished_run):
    run, _ = finished_run(target=0.0, max_damage=1.0)
    kept, looks = weights(run.model), list(run.previews)
    untouched, here = (run_to_end(go_further(run, factor)) for factor in (0.0, 1.0))
    assert torch.equal(untouched.images, run.previews[0].images)
    assert torch.equal(here.images, run.previews[-1].images)
    assert torch.equal(weights(run.model), kept)
    assert [id(look) for look in run.previews] == [id(look) for look in looks]


def test_further_along_the_way_fewer_seeds_of_the_class_still_draw_it():
    strong = {"steps": 8, "batch_size": 8, "step_size": 4e-3, "target": 0.0}
    run, _ = take_steps(forget="8", replay=64, preview_every=8, sampler_steps=5, **strong)
    of_class = run.replay.of_class[run.replay.grid]
    start, end = (run_to_end(go_further(run, factor)).forgotten[of_class] for factor in (0.0, 1.6))
    assert start.all()  # they were chosen because the frozen model draws the class there
    assert end.double().mean() < 0.6


@pytest.mark.parametrize("prompt", ["a photo of a red sneaker", ""])
def test_any_prompt_is_drawn_by_both_models_from_the_same_seeds(prompt, finished_run):
    run, _ = finished_run(**QUICK_PROMPTS, forget="red", parameters="cross-attention", target=0.0, max_damage=1.0)
    kept = weights(run.model)
    before, after = run_to_end(try_prompt(run, prompt))
    for side in (before, after):
        assert side.images.shape == (IMAGES_PER_PROMPT, 3, 32, 32)
        assert {spec.prompt for spec in side.specs} == {prompt}
    assert torch.equal(before.images, after.images) == (run.scale == 0)
    assert torch.equal(weights(run.model), kept)

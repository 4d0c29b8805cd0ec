"""ESD: its target is the frozen model's negative guidance, at states on the changing model's own path."""

import pytest
import torch
from conftest import QUICK, take_steps

from vdu.batches import BatchStream
from vdu.errors import UserError
from vdu.methods.esd import negative_guidance, states_on_the_way
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.run import Run
from vdu.sampling import run_to_end, timestep_grid
from vdu.task import open_model

RED = QUICK | {"model": "tiny-sd", "forget": "red", "method": "esd", "replay": 48, "batch_size": 6}


@pytest.fixture(scope="module")
def batch():
    run = Run(Recipe.from_dict(RED))
    frozen = run.model.clone()
    replay = run_to_end(draw_replay(run.recipe, run.task.concept, run.task.judge, frozen))
    return next(iter(BatchStream(run.task, replay, run.model, frozen, None)))


def test_the_loss_is_the_distance_to_negative_guidance_and_vanishes_there(batch):
    forget = batch.forget
    with torch.no_grad():
        word, rest = (batch.frozen.predict_noise(forget.states, forget.t, part) for part in (forget.caption, forget.neutral))
    terms = negative_guidance(batch)
    # The model is still the frozen one, so its distance to the target is (1 + eta) times that of the two predictions.
    assert terms.loss.item() == pytest.approx(4 * (word - rest).square().mean().item(), rel=0.02)  # eta 1; bfloat16 rounds
    assert terms.plasticity.item() == pytest.approx(0, abs=1e-6)


def test_states_lie_on_the_samplers_grid_at_the_nearest_timestep(batch):
    found = states_on_the_way(batch)
    grid = timestep_grid(batch.how.steps, batch.model.first_timestep)
    for wanted, t in zip(batch.forget.t.tolist(), found.t.tolist(), strict=True):
        assert t == min(grid, key=lambda place: abs(place - wanted))
    start = found.t == grid[0]
    if start.any():  # nothing has been taken away there: pure noise
        assert found.states[start].std().item() == pytest.approx(1, abs=0.2)
    assert not torch.equal(found.states, states_on_the_way(batch).states)  # fresh noise every time


@pytest.mark.parametrize("parameters", ["cross-attention", "no-cross-attention"])
def test_esd_x_trains_what_reads_the_prompt_and_esd_u_the_rest_and_neither_sees_an_image(parameters):
    run, _ = take_steps(**RED | {"steps": 2, "parameters": parameters})
    start = dict(open_model("tiny-sd", "cpu")[0].unet.named_parameters())
    changed = {name for name, value in run.model.unet.named_parameters() if not torch.equal(value, start[name])}
    assert changed
    assert all((".attn2." in name) == (parameters == "cross-attention") for name in changed)
    assert set(run.images_seen.values()) == {0}


def test_a_model_without_prompts_is_refused_with_the_methods_that_fit():
    with pytest.raises(UserError, match="Method esd cannot be used with a model that takes no prompts; choose one of vdu-f"):
        Run(Recipe(method="esd"))

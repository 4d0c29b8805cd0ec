"""The replay: seeds of the frozen model, and forget rates of other models estimated from these seeds."""

import pytest
import torch
from conftest import QUICK

from vdu.recipe import Recipe
from vdu.replay import GRID_FORGET, GRID_KEEP, draw_replay
from vdu.sampling import Role, image_seeds, run_to_end
from vdu.task import open_task


@pytest.fixture(scope="module")
def replay():
    task = open_task(Recipe.from_dict(QUICK | {"replay": 256}))
    return run_to_end(draw_replay(task.recipe, task.concept, task.judge, task.model))


def test_one_kept_image_that_newly_shows_the_class_does_not_keep_a_run_from_settling(replay):
    grid, forget = replay.grid, int(replay.concept.forget)
    of_class = replay.of_class[grid]

    def rate(newly: int) -> float:
        drawn = replay.samples.at(grid)
        drawn.classes[of_class] = (forget + 1) % 10
        drawn.classes[(~of_class).nonzero()[:newly, 0]] = forget
        return replay.forget_rate_to_steer_by(grid, drawn)

    assert rate(0) == 0
    assert 0 < rate(1) < 0.006 < rate(2)
    assert replay.forget_rate_to_steer_by(grid, replay.samples.at(grid)) == replay.share


def test_the_grid_is_of_both_kinds_and_the_untouched_model_has_no_damage(replay):
    grid = replay.grid
    count = min(GRID_FORGET, int(replay.of_class.sum()))
    assert replay.of_class[grid[:count]].all()
    assert replay.kept[grid[count:]].all()
    assert len(grid) == count + GRID_KEEP
    preview = replay.preview(replay.samples.at(grid), step=0)
    assert preview.damage == 0
    assert preview.forget_rate == pytest.approx(replay.share)
    assert torch.equal(preview.forgotten, replay.of_class[grid])


def test_steering_and_measuring_share_no_seed(replay):
    assert not set(replay.seeds) & set(image_seeds(0, 20_000))
    assert replay.seeds == image_seeds(0, 256, Role.STEER)

"""Measuring a model that no run has changed."""

import pytest
from conftest import QUICK

from vdu.assets import ASSETS
from vdu.errors import UserError
from vdu.evaluation import evaluate, open_alike
from vdu.recipe import Recipe
from vdu.samples import draw
from vdu.sampling import image_seeds, run_to_end
from vdu.task import open_task


@pytest.fixture(scope="module")
def task():
    return open_task(Recipe.from_dict(QUICK))


def test_a_model_is_measured_from_the_seeds_of_a_run_and_by_its_judge(task):
    seeds = image_seeds(task.recipe.seed, task.recipe.samples)
    drawn = run_to_end(draw("sample", task.model, task.judge, seeds, task.recipe.how))
    assert run_to_end(evaluate(task, task.model)) == task.measure(drawn)


def test_only_a_model_that_draws_the_same_kind_of_images_is_alike(task):
    assert open_alike(str(ASSETS / "mnist-ddpm"), task).shape == task.model.shape
    for name in ("cifar10-ddpm", "tiny-sd"):
        with pytest.raises(UserError, match=f"'{name}' and mnist-ddpm do not draw the same kind of images"):
            open_alike(name, task)

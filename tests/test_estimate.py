"""How long a run will take: by the examples, then by what runs took."""

import json

import pytest

from vdu.catalog import CATALOG
from vdu.estimate import FIXED, Pace, evaluations
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of


def recipe_of(model="mnist-ddpm", forget="3", **changes):
    return resolve(Recipe(model=model, forget=forget, **changes), kind_of(model))


@pytest.mark.parametrize("model", CATALOG)
def test_an_example_is_estimated_as_it_was_measured(model):
    report = json.loads((CATALOG[model].folder / "example" / "report.json").read_text())
    seconds = Pace().seconds(Recipe.from_dict(report["recipe"]))
    assert seconds == pytest.approx(report["seconds"]["total"])


def test_what_is_drawn_and_trained_counts():
    one, two = (evaluations(recipe_of(samples=samples, steps=100)) for samples in (1000, 2000))
    assert two - one == 2 * 1000 * recipe_of().sampler_steps
    assert evaluations(recipe_of(steps=200)) > evaluations(recipe_of(steps=100))
    with_guidance, without = (evaluations(recipe_of("tiny-sd", guidance=scale)) for scale in (3.0, 1.0))
    assert with_guidance > 1.4 * without
    photographs = [evaluations(recipe_of("cifar10-ddpm", forget="cat", method=name, steps=1)) for name in ("dng", "neggrad")]
    assert photographs[0] > 2 * photographs[1]  # the gradient of a classifier at every evaluation


def test_it_learns_from_runs_that_were_done_and_knows_small_from_large():
    pace, small, large = Pace(), recipe_of(samples=50, replay=48, steps=4), recipe_of()
    at_first = pace.seconds(large)
    for _ in range(20):
        pace.learn(small, 3 * Pace().seconds(small))
    assert pace.seconds(small) == pytest.approx(3 * Pace().seconds(small))
    for _ in range(20):
        pace.learn(large, 2 * at_first)
    assert pace.seconds(large) == pytest.approx(2 * at_first, rel=1e-3)
    assert pace.seconds(small) == pytest.approx(3 * Pace().seconds(small))
    assert pace.seconds(recipe_of("tiny-sd")) > 1.5 * Pace().seconds(recipe_of("tiny-sd"))  # as slow as the others were


def test_of_a_model_without_an_example_nothing_is_known(tmp_path):
    pace = Pace()
    unknown = Recipe(model=str(tmp_path), forget="x")
    assert pace.seconds(unknown) is None
    pace.learn(resolve(unknown, kind_of(unknown.model)), 10.0)
    assert pace.factors == {}
    assert pace.seconds(recipe_of(samples=50)) > FIXED

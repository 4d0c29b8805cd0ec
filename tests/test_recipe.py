"""The bounds of a recipe, and its way to JSON and back."""

import json
import math

import pytest

from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.recipe import CHOICES, Recipe


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_goes_to_json_and_back_and_leaves_nothing_open(method):
    recipe = Recipe(method=method, forget="7", seed=5)
    values = recipe.to_dict()
    assert None not in values.values()
    assert set(values) == set(CHOICES)
    assert Recipe.from_dict(json.loads(json.dumps(values))) == recipe


def test_the_model_decides_the_method_where_nothing_is_said():
    assert Recipe(model="mnist-ddpm").method == Recipe(model="tiny-sd", forget="red").method == "vdu-f"
    photographs = Recipe(model="cifar10-ddpm", forget="cat")
    assert (photographs.method, photographs.optimizer, photographs.posterior) == ("vdu", "one-step", "layers")
    assert Recipe(model="cifar10-ddpm", forget="cat", method="vdu-f").optimizer == "adam"


@pytest.mark.parametrize("name", [name for name, choice in CHOICES.items() if choice.low is not None])
def test_bounds_are_inclusive_and_outside_is_refused_by_name(name):
    choice = CHOICES[name]
    if name not in ("t_min", "t_max"):  # these two also depend on one another
        for value in (choice.low, choice.high):
            Recipe.from_dict({name: value})
    for value in (choice.low - 1, choice.high + 1, math.nan, math.inf, "many", True, None if name == "seed" else []):
        with pytest.raises(UserError, match=choice.label):
            Recipe.from_dict({name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "magic"}, "Method must be one of"),
        ({"steps": 2.5}, "Steps must be a whole number from 1 to 2,000"),
        ({"t_min": 700, "t_max": 700}, "must lie below"),
        ({"gama": 0.5}, "no 'gama'"),
        ({"method": "neggrad", "optimizer": "one-step"}, "gamma 0"),
        ({"forget": ""}, "Forget must be a word"),
    ],
)
def test_a_bad_value_is_one_clear_sentence(values, message):
    with pytest.raises(UserError, match=message) as caught:
        Recipe.from_dict(values)
    assert "\n" not in str(caught.value)

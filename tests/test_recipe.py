"""A recipe: its bounds, the defaults by model and method, and its way to JSON and back."""

import builtins
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import get_args

import pytest

from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.models import FULL_SIZE, KINDS, PHOTOGRAPHS, SMALL, UNCONDITIONAL, hub
from vdu.recipe import BY_METHOD, DEFAULTS, DEPENDENT, FIELDS, RETIRED, Group, Recipe, check_defaults, defaults_of, resolve
from vdu.task import kind_of

FITTING = [(kind, name) for kind in KINDS for name, method in METHODS.items() if kind in method.defaults]


# --- one table of fields ---


def test_every_field_of_a_recipe_can_be_shown():
    assert list(FIELDS) == [field.name for field in dataclasses.fields(Recipe)]
    assert len({field.label for field in FIELDS.values()}) == len(FIELDS)
    for name, field in FIELDS.items():
        assert field.label, name
        assert field.group in get_args(Group), name
        assert 0 < len(field.help) <= 90, name
        assert not {"shall", "whilst", "thereof"} & {*field.help.lower().replace(",", " ").split()}, name
        assert field.help.replace(" ; ", " ").count(";") < 2, name  # a semicolon between spaces is one to type
        assert (field.low is None) == (field.high is None) == (field.type is str), name
        assert field.type is str or not field.options, name


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.low is not None])
def test_bounds_are_inclusive_and_outside_is_refused_by_name(name):
    field = FIELDS[name]
    if name not in ("t_min", "t_max"):  # these two also depend on one another
        for value in (field.low, field.high):
            assert getattr(Recipe.from_dict({name: value}), name) == value
    for value in (field.low - 1, field.high + 1, math.nan, math.inf, "many", True, None if name == "seed" else []):
        with pytest.raises(UserError, match=f"(?i){field.label} must be"):
            Recipe.from_dict({name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "magic"}, "Method must be one of"),
        ({"optimizer": "sgd"}, "Optimizer must be one of natural, adam, one-step"),
        ({"steps": 2.5}, "Steps must be a whole number from 1 to 2,000"),
        ({"t_min": 700, "t_max": 700}, "must be smaller than"),
        ({"gama": 0.5}, "no 'gama'"),
        ({"optimizer": "one-step", "gamma": 0}, "gamma 0"),
        ({"forget": ""}, "Forget must be a word"),
        ({"forget": "x" * 2001}, "at most 2,000 letters, not 2,001"),
        ({"forget": "caf\udce9"}, "Forget holds something that is no letter"),
        ({"judge": None}, "Judge must be a word"),
    ],
)
def test_a_bad_value_is_one_clear_sentence(values, message):
    with pytest.raises(UserError, match=message) as caught:
        Recipe.from_dict(values)
    assert "\n" not in str(caught.value)


def test_values_take_the_type_of_their_field():
    recipe = Recipe.from_dict({"steps": 12.0, "gamma": 0, "keep": "  a dog ;\n a  cat;;"})
    assert (recipe.steps, type(recipe.steps), type(recipe.gamma)) == (12, int, float)
    assert recipe.request.keep == ("a dog", "a cat")


@pytest.mark.parametrize("name", RETIRED)
def test_an_old_recipe_with_the_value_that_remains_is_read_and_another_is_refused(name):
    assert Recipe.from_dict({name: RETIRED[name], "seed": 3}) == Recipe(seed=3)
    with pytest.raises(UserError, match=f"no longer has '{name}'"):
        Recipe.from_dict({name: "another"})
    assert name not in FIELDS


# --- a pure value ---


def test_to_make_a_recipe_reads_no_file_and_asks_no_hub(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a recipe has looked at something outside of itself")

    for owner, name in [(Path, part) for part in ("is_file", "is_dir", "exists", "stat", "open", "read_text", "iterdir")] + [
        (builtins, "open"), (io, "open"), (hub, "fetch"), (hub, "snapshot_download"),
    ]:  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)
    for model in ("mnist-ddpm", "no-such-model", "nobody/nothing-of-that-name", "/nowhere/at/all"):
        recipe = Recipe(model=model, forget="a [thing]", pictures="/nowhere", judge="nobody/no-clip", steps=7)
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
        assert recipe.request.pictures == "/nowhere"
        for kind in KINDS:
            assert None not in resolve(recipe, kind).to_dict().values()


@pytest.mark.parametrize(("kind", "method"), FITTING)
def test_a_recipe_goes_to_json_and_back_and_once_resolved_leaves_nothing_open(kind, method):
    open_recipe = Recipe(method=method, forget="7", seed=5)
    recipe = resolve(open_recipe, kind)
    values = recipe.to_dict()
    assert None not in values.values()
    assert set(values) == set(FIELDS)
    assert (recipe.method, recipe.forget, recipe.seed) == (method, "7", 5)
    for one in (open_recipe, recipe):
        assert Recipe.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert resolve(recipe, kind) == recipe


def test_what_is_left_open_is_what_the_kind_and_the_method_decide():
    recipe = Recipe()
    assert {name for name, value in recipe.to_dict().items() if value is None} == set(DEPENDENT)
    for kind, method in FITTING:
        assert set(defaults_of(kind, method)) | {"method"} == set(DEPENDENT)
        assert set(METHODS[method].defaults[kind]) <= set(BY_METHOD)  # all are reset by a change of method
    assert not set(DEPENDENT) & {name for name, default in DEFAULTS.items() if default is not None}


def test_a_model_may_have_defaults_of_its_own_which_a_choice_still_overrides():
    plain, own = (resolve(Recipe(model=model, forget="cat"), SMALL) for model in ("tiny-sd", "cifar10-sd"))
    changed = {name for name, value in own.to_dict().items() if value != plain.to_dict()[name]}
    assert changed == {"model", *METHODS["vdu-f"].by_model["cifar10-sd"]}
    assert changed - {"model"} <= set(BY_METHOD)
    assert resolve(Recipe(model="cifar10-sd", gamma=0.5), SMALL).gamma == 0.5
    assert all(model in CATALOG for method in METHODS.values() for model in method.by_model)
    wrong = dataclasses.replace(METHODS["vdu-f"], by_model={"cifar10-sd": {"gama": 0.5}})
    with pytest.raises(ValueError, match="in the defaults for 'cifar10-sd': gama, which no recipe has"):
        check_defaults({"my-own": wrong})


def test_what_is_said_stays_whatever_the_model():
    said = {"gamma": 0.125, "steps": 7, "sampler_steps": 9, "target": 0.5}
    for kind, method in FITTING:
        recipe = resolve(Recipe(method=method, **said), kind)
        assert {name: getattr(recipe, name) for name in said} == said


# --- what suits a model ---


def resolved(**values) -> Recipe:
    return resolve(Recipe(**values), kind_of(values["model"]))


def test_the_model_decides_the_method_where_nothing_is_said():
    assert resolved(model="mnist-ddpm").method == resolved(model="tiny-sd", forget="red").method == "vdu-f"
    photographs = resolved(model="cifar10-ddpm", forget="cat")
    assert (photographs.method, photographs.optimizer, photographs.posterior) == ("vdu-f", "adam", "layers")
    assert resolved(model="cifar10-ddpm", forget="cat", method="vdu").optimizer == "one-step"


@pytest.mark.parametrize(
    ("kind", "changes", "times"),
    [
        (UNCONDITIONAL, {"forget": "3, 8 or 5"}, 3),
        (UNCONDITIONAL, {"forget": "3 + 3"}, 1),
        (UNCONDITIONAL, {"forget": "3, 8", "method": "dng"}, 1),
        (UNCONDITIONAL, {"forget": "round, closed", "judge": "pictures", "pictures": "mine"}, 1),
        (UNCONDITIONAL, {"forget": "round, closed", "model": "a/folder", "pictures": "mine"}, 1),
        (UNCONDITIONAL, {"forget": "3, 8", "pictures": "mine"}, 2),
        (UNCONDITIONAL, {"forget": "3, 8", "method": "vdu", "optimizer": "one-step"}, 1),
        (PHOTOGRAPHS, {"forget": "cat, dog"}, 1),
    ],
)
def test_several_drawings_at_once_take_as_many_steps_each_as_one(kind, changes, times):
    one = resolve(Recipe.from_dict(changes | {"forget": "3"}), kind)
    assert resolve(Recipe.from_dict(changes), kind).steps == times * one.steps
    assert resolve(Recipe.from_dict(changes | {"steps": 7}), kind).steps == 7


def test_gamma_0_of_a_method_cannot_be_solved_in_one_step():
    with pytest.raises(UserError, match="gamma 0"):
        resolve(Recipe(method="neggrad", optimizer="one-step"), UNCONDITIONAL)


def test_a_method_without_defaults_for_a_kind_is_one_sentence(monkeypatch):
    with pytest.raises(UserError, match="Method esd cannot be used with a model that takes no prompts") as caught:
        defaults_of(UNCONDITIONAL, "esd")
    assert "\n" not in str(caught.value)
    assert "choose one of vdu-f, " in str(caught.value)
    assert "esd," not in str(caught.value)
    with pytest.raises(UserError, match="Method esd"):
        resolve(Recipe(method="esd"), UNCONDITIONAL)
    only_digits = dataclasses.replace(METHODS["vdu"], defaults={UNCONDITIONAL: METHODS["vdu"].defaults[UNCONDITIONAL]})
    monkeypatch.setitem(METHODS, "vdu", only_digits)
    for kind in (SMALL, FULL_SIZE):
        with pytest.raises(UserError, match="Method vdu cannot be used with a model that takes prompts; choose one of vdu-f"):
            defaults_of(kind, "vdu")
    with pytest.raises(UserError, match="Method vdu has no settings for models of kind 'photographs'; choose one of vdu-f"):
        defaults_of(PHOTOGRAPHS, "vdu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gama": 0.5}, "gama, which no recipe has"),
        ({"steps": None, "reach": None}, "reach, steps, which must have a default"),
    ],
)
def test_wrong_defaults_of_a_method_name_its_file(changes, says):
    defaults = METHODS["vdu-f"].defaults[UNCONDITIONAL] | changes
    defaults = {name: value for name, value in defaults.items() if value is not None}
    wrong = dataclasses.replace(METHODS["vdu-f"], defaults={UNCONDITIONAL: defaults})
    with pytest.raises(ValueError, match=f"vdu/methods/my_own.py: in the defaults for 'unconditional': {says}"):
        check_defaults({"my-own": wrong})

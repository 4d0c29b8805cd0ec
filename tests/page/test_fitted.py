"""The page with a fitted judge: a visitor uploads pictures to forget and pictures to keep."""

import gradio as gr
import pytest
import torch
from dummies import dummy_ddpm, dummy_stable_diffusion

from vdu.catalog import CATALOG
from vdu.concepts.base import ConceptRequest
from vdu.errors import UserError
from vdu.models import UNCONDITIONAL
from vdu.page.controls import Controls, recipe_of, typed_texts
from vdu.page.panel import default_recipe
from vdu.page.settings import Settings
from vdu.recipe import Recipe, resolve
from vdu.sheet import as_picture
from vdu.task import kind_of

SETTINGS = Settings(any_model=True)


@pytest.fixture
def values(tmp_path):
    """The inputs of a visitor who uploads pictures of both kinds for a DDPM of 16×16 grey images."""
    dummy_ddpm(tmp_path / "ddpm", size=16, channels=1)
    uploads = {}
    for name, count in (("pictures", 8), ("others", 9)):
        (tmp_path / f"{name} as uploaded").mkdir()
        for number in range(count):
            path = tmp_path / f"{name} as uploaded" / f"{number}.png"
            as_picture(torch.full((3, 20, 20), 9 * number, dtype=torch.uint8)).save(path)
            uploads.setdefault(name, []).append(str(path))
    recipe = Recipe(model=str(tmp_path / "ddpm"), forget="my ship")
    given = {"forget": None, "typed": "my ship", "keep": "", "judge": ""}
    return resolve(recipe, kind_of(recipe.model)).to_dict() | uploads | given


def test_inputs_for_pictures_are_shown_and_those_for_prompts_hidden(values):
    with gr.Blocks():
        controls = Controls(SETTINGS, default_recipe())
    shown = controls.for_model(values["model"], None)
    visible = {name: shown[controls.fields[name]]["visible"] for name in ("pictures", "others", "keep", "guidance")}
    assert visible == {"pictures": True, "others": True, "keep": False, "guidance": False}


def test_the_page_takes_pictures_of_what_to_keep(values, tmp_path):
    recipe = recipe_of(values, SETTINGS, tmp_path)
    assert recipe.request == ConceptRequest("my ship", (str(tmp_path / "others"),), str(tmp_path / "pictures"))
    assert len(list((tmp_path / "pictures").iterdir())) == 8
    assert len(list((tmp_path / "others").iterdir())) == 9


def test_pictures_to_keep_are_refused_for_a_model_that_takes_prompts(values, tmp_path):
    dummy_stable_diffusion(tmp_path / "sd")
    with pytest.raises(UserError, match="takes prompts; write prompts to keep"):
        recipe_of(values | {"model": str(tmp_path / "sd")}, SETTINGS)


@pytest.mark.parametrize("entry", [entry for entry in CATALOG.values() if entry.takes_prompts], ids=lambda entry: entry.name)
def test_the_text_field_suggests_what_the_model_can_forget(entry):
    suggested = typed_texts(entry, prompted=True)["placeholder"].split("   or   ")
    assert len(suggested) == len(entry.axes) + 1
    for names in suggested:
        assert entry.concept(names).class_sets  # an unknown name would be refused


@pytest.mark.parametrize(("typed", "steps", "taken"), [("", 150, 150), ("3, 8", 150, 300), ("3, 8", 90, 90)])
def test_several_classes_take_more_steps_unless_the_visitor_says_how_many(typed, steps, taken):
    recipe = resolve(Recipe(model="mnist-ddpm", forget="3"), UNCONDITIONAL)
    assert recipe.steps == 150
    values = recipe.to_dict() | {"typed": typed, "pictures": None, "others": None, "steps": steps}
    assert resolve(recipe_of(values, SETTINGS), UNCONDITIONAL).steps == taken

"""What the page offers for a listed model on the hub."""

import gradio as gr
import pytest

from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.page.controls import Controls, recipe_of
from vdu.page.settings import Settings
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of

GOOGLE = "google/ddpm-cifar10-32"


def resolved(model: str, forget: str) -> Recipe:
    return resolve(Recipe(model=model, forget=forget), kind_of(model))


def test_the_page_offers_the_classes_of_a_listed_one_without_a_gpu():
    settings = Settings()
    assert GOOGLE in [name for _, name in settings.models]
    settings.check_allowed(GOOGLE, "", device="cpu")
    with gr.Blocks():
        controls = Controls(settings, resolved("mnist-ddpm", "3"))
    fields, shown = controls.fields, controls.for_model(GOOGLE, None)
    assert shown[fields["forget"]]["choices"] == list(CATALOG["cifar10-ddpm"].classes)
    assert shown[controls.by_class]["visible"]
    assert not shown[controls.by_prompt]["visible"]
    assert not any(shown[fields[name]]["visible"] for name in ("judge", "others", "keep", "guidance"))
    defaults_for = resolved("cifar10-ddpm", "frog")
    names = ("method", "posterior", "batch_size", "max_damage")
    assert all(shown[fields[name]] == getattr(defaults_for, name) for name in names)
    assert fields["max_damage"] not in controls.defaults_for(GOOGLE, "vdu-f")  # the visitor's own dial
    uploads = {"typed": "", "pictures": None, "others": None}
    values = resolved(GOOGLE, "frog").to_dict() | uploads
    recipe = recipe_of(values, settings)
    assert (recipe.model, recipe.forget, recipe.pictures) == (GOOGLE, "frog", "")
    with pytest.raises(UserError, match="no class 'church'"):
        recipe_of(values | {"forget": "church"}, settings)

"""What the page offers for a listed model on the hub."""

import pytest

import app
from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.recipe import Recipe

GOOGLE = "google/ddpm-cifar10-32"


def test_the_page_offers_the_classes_of_a_listed_one_without_a_gpu():
    assert GOOGLE in [name for _, name in app.MODELS]
    app.permitted(GOOGLE, "", device="cpu")
    shown = app.choose_model(None, GOOGLE)
    assert shown[app.forget]["choices"] == list(CATALOG["cifar10-ddpm"].classes)
    assert shown[app.choice]["visible"]
    assert not shown[app.own]["visible"]
    assert not shown[app.judge]["visible"]
    assert not shown[app.others]["visible"]
    suited = Recipe(model="cifar10-ddpm", forget="frog")
    assert all(shown[app.advanced[name]] == getattr(suited, name) for name in ("method", "posterior", "batch_size"))
    assert shown[app.damage] == suited.max_damage
    assert app.damage not in app.defaults_for(GOOGLE, "vdu-f")  # the visitor's own dial
    left = {"model": GOOGLE, "forget": "frog", "typed": "", "keep": "", "pictures": None, "others": None, "judge": "",
            "forget_images": 500, "max_damage": 0.4, "go_on": False}  # fmt: skip
    suits = Recipe(model=GOOGLE, forget="frog").to_dict()
    folded = [suits[name] for name in app.FOLDED]
    recipe = app.recipe_of(*left.values(), *folded)
    assert (recipe.model, recipe.forget, recipe.pictures) == (GOOGLE, "frog", "")
    with pytest.raises(UserError, match="no class 'church'"):
        app.recipe_of(*(left | {"forget": "church"}).values(), *folded)

"""A folder, zip or picture in place of the name of what to forget."""

import pytest
from pictures_of_ships import of_class, save

from vdu.errors import UserError
from vdu.forget_path import with_pictures
from vdu.recipe import Recipe
from vdu.task import PICTURES


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with pictures in three places."""
    for name in ("digits/3", "cats", "red"):
        save(of_class("ship")[:2], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "name", "pictures", "judge"),
    [
        ({"forget": "digits/3"}, "3", "digits/3", ""),  # a class that the judge knows
        ({"forget": "digits/3", "keep": "cats"}, "3", "digits/3", PICTURES),
        ({"forget": "cats/"}, "cats", "cats/", PICTURES),
        ({"forget": "cats"}, "cats", "cats", PICTURES),
        ({"forget": "cats/000.png"}, "000", "cats/000.png", PICTURES),
        ({"forget": "cats", "pictures": "red"}, "cats", "red", ""),
        ({"forget": "3"}, "3", "", ""),
        ({"forget": "red", "model": "tiny-sd"}, "red", "", ""),
        ({"forget": "no such folder"}, "no such folder", "", ""),
    ],
)
def test_a_path_gives_pictures_and_a_name_stays_a_name(given, name, pictures, judge, here):
    recipe = with_pictures(Recipe(**given))
    assert (recipe.forget, recipe.pictures, recipe.judge) == (name, pictures, judge)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forget": "digits/3", "pictures": "cats"}, "leave one of them out"),
        ({"forget": "digits/3", "model": "tiny-sd"}, "takes prompts; name what"),
        ({"forget": "dogs/"}, "no folder of pictures 'dogs/'"),
    ],
)
def test_what_a_path_cannot_mean_is_refused(given, message, here):
    with pytest.raises(UserError, match=message):
        with_pictures(Recipe(**given))

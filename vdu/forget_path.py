"""A path in place of a name: `--forget cats/` gives pictures of what to forget, and their folder's name is its name."""

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

from vdu.catalog import entry_of
from vdu.errors import UserError
from vdu.recipe import PROMPTED, Recipe
from vdu.task import PICTURES, kind_of, knows

SLASHES = tuple({"/", os.sep})
STARTS = tuple(start + slash for start in (".", "..", "~", "") for slash in SLASHES)


def with_pictures(recipe: Recipe) -> Recipe:
    """The recipe, or if its `forget` is a folder, zip or picture: one with that as `pictures`, and its name as `forget`.

    A name without a slash keeps its meaning where it has one: as a class, as a prompt, or as the name of other `pictures`.

    Raises:
        UserError: if there is nothing at the path, `pictures` are given too, or the model takes prompts.
    """
    forget, there = recipe.forget, False
    path = Path(forget)
    with suppress(OSError, ValueError):  # no path can be so long, or hold a zero byte
        there = path.exists()
    if not there:
        if forget.endswith(SLASHES) or forget.startswith(STARTS):
            raise UserError(f"There is no folder of pictures '{forget}' to forget.")
        return recipe
    entry, takes_prompts = entry_of(recipe.model), kind_of(recipe.model) in PROMPTED
    is_name = path.is_dir() and not any(slash in forget for slash in SLASHES)
    if is_name and (recipe.pictures or takes_prompts or (entry and knows(entry, forget))):
        return recipe
    if recipe.pictures:
        raise UserError(f"'{forget}' and '{recipe.pictures}' are both pictures of what to forget; leave one of them out.")
    if takes_prompts:
        raise UserError(f"'{recipe.model}' takes prompts; name what '{forget}' shows (forget), and give it as pictures.")
    name = path.resolve().name if path.is_dir() else path.stem
    # The judge of a model of the catalog knows its own classes alone, and needs no pictures to keep.
    judge = PICTURES if entry and (recipe.keep or not knows(entry, name)) else ""
    return dataclasses.replace(recipe, forget=name, pictures=forget, judge=recipe.judge or judge)

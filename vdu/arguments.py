"""Options made from a recipe's fields."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, get_args

import click

from vdu.recipe import DEFAULTS, FIELDS, OPEN, Group, Recipe


def number(text: str) -> int | float | str:
    """A number; any other text stays a text, which the recipe then refuses in a sentence that names the bounds."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


class FieldOption(click.Option):
    """The option of a recipe's field; the recipe checks its value.

    Args:
        name: of the field.
        required: whether it must be given; otherwise what is left out gets the recipe's default.
    """

    def __init__(self, name: str, required: bool = False) -> None:
        self.field = FIELDS[name]
        self.heading = self.field.group.capitalize()
        # To click, None is a default like any other: with it, a required option would never be missing.
        default = {} if required or DEFAULTS[name] in (OPEN, "") else {"default": DEFAULTS[name]}
        super().__init__(
            ["--" + name.replace("_", "-")],
            type=str if self.field.type is str else number,
            required=required,
            help=self.field.help,
            metavar=f"[{'|'.join(self.field.options)}]" if self.field.options else None,
            **default,
        )

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What the help says in brackets: also the bounds of a number."""
        bounds = {} if self.field.low is None else {"range": f"{self.field.low}<=x<={self.field.high}"}
        return super().get_help_extra(ctx) | bounds


def recipe_options(names: Iterable[str], required: Collection[str] = ()) -> list[click.Parameter]:
    """Options for some of a recipe's fields, group by group."""
    by_group = sorted(names, key=lambda name: get_args(Group).index(FIELDS[name].group))
    return [FieldOption(name, name in required) for name in by_group]


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """The recipe with the fields among a command's values; fields that are absent or None stay open."""
    return Recipe.from_dict({name: value for name, value in values.items() if name in FIELDS and value is not None})

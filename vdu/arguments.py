"""What the command line's parsers share: one-line errors, numbers with bounds, and options made from a recipe's fields."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from vdu.recipe import FIELDS, Recipe


class Parser(argparse.ArgumentParser):
    """Reports a bad argument as one line and exits with 2."""

    def error(self, message: str) -> Any:
        """Print the message without the usage."""
        self.exit(2, f"vdu: {message}\n")


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low:,} to {high:,}, not '{text}'")
        return value

    return parse


def number(text: str) -> int | float:
    """A number as JSON reads it, so that 1e6 steps are refused by the recipe with its bounds and not here."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def flag(name: str) -> str:
    """The option of a recipe's field."""
    return "--" + name.replace("_", "-")


def add_fields(command: argparse.ArgumentParser, names: Iterable[str], required: Iterable[str] = ()) -> None:
    """Options for some of a recipe's fields; the recipe checks their values."""
    for name in names:
        field = FIELDS[name]
        command.add_argument(
            flag(name),
            type=str if field.type is str else number,
            required=name in required,
            help=field.help.replace("%", "%%"),
            metavar=f"{{{','.join(field.options)}}}" if field.options else None,
        )


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe that a command's arguments are part of; what suits the model elsewhere."""
    return Recipe.from_dict({name: value for name, value in vars(arguments).items() if name in FIELDS and value is not None})

"""The parts of a sweep's file, read from YAML and checked field by field; `vdu.bench.grid` combines them."""

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from vdu.arguments import number
from vdu.errors import UserError, one_line, quoted
from vdu.recipe import FIELDS

PARTS = ("base", "grid", "targets", "settings", "skip")
SETTING = "setting"  # names a group of `settings` in `skip` and in tables
MOST_BYTES = 2**20
Fields = dict[str, Any]


class OnceLoader(yaml.SafeLoader):
    """Reads plain values, with numbers as text: YAML 1.1 takes 010 for 8 and 1:30 for 90, and `typed` reads them as people do.

    A key that is given twice is refused, as YAML would drop the first without a word.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.YAMLError: if a key is given twice.
        """
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"'{twice[0]}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


OnceLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> Any:
    """The values in a YAML file.

    Raises:
        UserError: if it is none, or too long.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"this file has more than {MOST_BYTES:,} bytes; a sweep needs a few lines.")
        return yaml.load(path.read_text(encoding="utf-8"), OnceLoader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}: {one_line(error.problem or '')})" if mark else ""
        raise UserError(f"this is no YAML that can be read{where}; see docs/cli.md for an example.") from error


def checked(values: Any) -> dict[str, Any]:
    """The parts of a file, the missing ones empty: base, grid, targets, settings and skip, in their plain form.

    Raises:
        UserError: if a part or a field is unknown, has no value, or is given in two places.
    """
    if not isinstance(values, dict) or not values:
        raise UserError(f"a sweep has the parts {', '.join(PARTS)}; see docs/cli.md for an example.")
    if unknown := [name for name in values if name not in PARTS]:
        raise UserError(f"a sweep has no part {quoted(unknown[0])}; its parts are {', '.join(PARTS)}.")
    base = one_each("base", values.get("base", {}))
    grid = several_each("grid", values.get("grid", {}))
    targets, skip = (
        [
            several_each(f"{part}, {number}", one, also)
            for number, one in enumerate(listed(part, values.get(part, [])), start=1)
        ]
        for part, also in (("targets", ()), ("skip", (SETTING,)))
    )
    groups = mapping("settings", values.get("settings", {}))
    settings = {str(name): one_each(f"settings, {name}", changes) for name, changes in groups.items()}
    places = {"base": {*base}, "grid": {*grid}, "targets": {name for part in targets for name in part}}
    changes = {name for changes in settings.values() for name in changes}
    for one, two in itertools.combinations(places, 2):
        for name in sorted(places[one] & places[two]):
            raise UserError(f"'{name}' is given in {one} and in {two}; leave it in one of them.")
    for name in sorted(changes & (places["grid"] | places["targets"])):
        raise UserError(f"'{name}' is given in settings and in grid or targets; settings can only change the base.")
    return {"base": base, "grid": grid, "targets": targets, "settings": settings, "skip": skip}


def mapping(place: str, value: Any) -> dict[Any, Any]:
    """A mapping; nothing at all is an empty one.

    Args:
        place: its name in the file; value: what is there.

    Raises:
        UserError: if it is none.
    """
    if not isinstance(value, dict | None):
        raise UserError(f"{place} must be a mapping, such as {{steps: 300}}, not {quoted(value)}.")
    return value or {}


def fields_in(place: str, value: Any, also: Collection[str] = ()) -> dict[str, Any]:
    """A mapping of fields.

    Args:
        place: its name in the file; value: what is there; also: further keys that are allowed.

    Raises:
        UserError: if it is none, or has a key that is no field.
    """
    found = mapping(place, value)
    if unknown := [name for name in found if name not in FIELDS and name not in also]:
        raise UserError(f"{place}: a recipe has no {quoted(unknown[0])}; its fields are {', '.join(FIELDS)}.")
    return found


def one_each(place: str, value: Any) -> Fields:
    """A mapping of fields to single values; see `fields_in`."""
    return {name: typed(place, name, one) for name, one in fields_in(place, value).items()}


def several_each(place: str, value: Any, also: Collection[str] = ()) -> dict[str, list[Any]]:
    """A mapping of fields to lists of values, or to single ones; see `fields_in`."""
    return {name: several(place, name, values) for name, values in fields_in(place, value, also).items()}


def listed(place: str, value: Any) -> list[Any]:
    """A list.

    Raises:
        UserError: if it is none.
    """
    if not isinstance(value, list):
        raise UserError(f"{place} must be a list of mappings, such as [{{model: mnist-ddpm, forget: ['3']}}].")
    return value


def several(place: str, name: str, value: Any) -> list[Any]:
    """The values of a field: a list, or a single value.

    Raises:
        UserError: if there is none, or one of them is no single value or is there twice.
    """
    if value == []:
        raise UserError(f"{place}: '{name}' has no values; give at least one.")
    values = [typed(place, name, one) for one in (value if isinstance(value, list) else [value])]
    for one in values:
        if values.count(one) > 1:
            raise UserError(f"{place}: '{name}' has {quoted(one)} twice; list it once.")
    return values


def typed(place: str, name: str, value: Any) -> Any:
    """A value as its field takes it: digits are a word where a word is wanted, and 1e-4 is a number, which YAML denies.

    Raises:
        UserError: if it is no single value.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        hint = "put a word in quotes" if isinstance(value, bool) else "give one value, or a list in grid or targets"
        raise UserError(f"{place}: '{name}' cannot be {quoted(value)}; {hint}.")
    if name == SETTING or FIELDS[name].type is str:
        return str(value) if isinstance(value, int) else value
    return number(value) if isinstance(value, str) else value

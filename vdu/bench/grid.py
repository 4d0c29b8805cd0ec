"""The file of a sweep: from YAML to recipes without open fields, one per cell.

base: {model: mnist-ddpm, samples: 500}   # fields that all cells share
grid: {method: [vdu-f, salun], seed: [0, 1]}   # every combination
targets: [{forget: ["3", "8"]}]   # fields that go together, each with one value or several
settings: {default: {}, long: {steps: 300}}   # named changes of the base
skip: [{method: salun, setting: long}]   # combinations to leave out
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdu.bench.sweep_file import SETTING, Fields, checked, load
from vdu.errors import UserError
from vdu.forget_path import with_pictures
from vdu.recipe import FIELDS, Recipe, resolve
from vdu.task import kind_of

PRESETS = Path(__file__).parents[1] / "presets"
MOST_CELLS = 2000


@dataclass(frozen=True)
class Planned:
    """A cell of a sweep before its model is looked at.

    Attributes:
        setting: name of its group of `settings`; "" without groups.
        chosen: the fields that the file gives it.
        name: what tells it from the other cells.
        recipe: its recipe, with every open field filled.
    """

    setting: str
    chosen: Fields
    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Sweep:
    """A file that has been read.

    Attributes:
        path: the file.
        planned: its cells, in the order in which they are run.
        varied: fields that are not the same in all cells as the file gives them, other than by `settings`.
    """

    path: Path
    planned: list[Planned]
    varied: list[str] = field(default_factory=list)


def presets() -> dict[str, Path]:
    """Name -> file of the sweeps that ship."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a sweep, by its path or by the name of a preset.

    Raises:
        UserError: if there is none.
    """
    path = Path(name)
    with suppress(OSError, ValueError):  # no path can be so long, or hold a zero byte
        if name not in presets() and path.is_file():
            return path
    if name not in presets():
        raise UserError(f"There is no file '{name}'; give a YAML file, or one of the presets {', '.join(presets())}.")
    return presets()[name]


def read_sweep(path: Path) -> Sweep:
    """The cells of a file.

    Raises:
        UserError: if the file is not a sweep, or a cell is impossible; the sentence names file and cell.
    """
    try:
        parts = checked(load(path))
        combinations = list(combine(parts))
        if not combinations:
            raise UserError("all cells are skipped; leave something to run.")
        varied = [name for name in FIELDS if len({repr(chosen.get(name)) for _, chosen in combinations}) > 1]
        by_settings = {name for changes in parts["settings"].values() for name in changes}
        varied = [name for name in varied if name not in by_settings]
        planned = [plan(setting, chosen, varied) for setting, chosen in combinations]
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Sweep(path, planned, varied)


def combine(parts: Mapping[str, Any]) -> Iterator[tuple[str, Fields]]:
    """(setting, fields) of every cell, without those to skip; a stopped sweep has all of the first seed.

    Raises:
        UserError: if there are too many, or something to skip is not there.
    """
    grid, base = parts["grid"], parts["base"]
    axes = [[{name: value} for value in grid[name]] for name in sorted(grid, key=lambda name: name != "seed")]
    targets = [choice for part in parts["targets"] for choice in choices(part)] or [{}]
    settings = parts["settings"] or {"": {}}
    count = math.prod(map(len, axes)) * len(targets) * len(settings)
    if count > MOST_CELLS:
        raise UserError(f"these are {count:,} cells, and a sweep has at most {MOST_CELLS:,}; divide it among several files.")
    first, rest = (axes[:1], axes[1:]) if "seed" in grid else ([], axes)
    named = [(name, base | changes) for name, changes in settings.items()]
    skipped = [0] * len(parts["skip"])
    for combination in itertools.product(*first, targets, named, *rest):
        setting, chosen = next(part for part in combination if isinstance(part, tuple))
        for part in combination:
            chosen = chosen | part if isinstance(part, dict) else chosen
        hits = [place for place, part in enumerate(parts["skip"]) if matches(part, chosen | {SETTING: setting})]
        for place in hits:
            skipped[place] += 1
        if not hits:
            yield setting, chosen
    if 0 in skipped:
        raise UserError(f"skip, {skipped.index(0) + 1} fits no cell; correct it, or leave it out.")


def choices(part: Mapping[str, list[Any]]) -> list[Fields]:
    """Every choice of one value per field.

    Raises:
        UserError: if there are too many.
    """
    if (count := math.prod(map(len, part.values()))) > MOST_CELLS:
        raise UserError(
            f"targets give {count:,} cells, and a sweep has at most {MOST_CELLS:,}; divide it among several files."
        )
    return [dict(zip(part, values, strict=True)) for values in itertools.product(*part.values())]


def matches(part: Mapping[str, list[Any]], chosen: Fields) -> bool:
    """Whether a cell has one of the values of every field that is named."""
    return all(chosen.get(name) in values for name, values in part.items())


def plan(setting: str, chosen: Fields, varied: list[str]) -> Planned:
    """A cell with its recipe.

    Raises:
        UserError: if the recipe is impossible; the sentence names the cell.
    """
    told = {SETTING: setting} if setting else {}
    told |= {name: chosen[name] for name in varied if name in chosen}
    name = ", ".join(f"{key} {value}" for key, value in told.items())
    try:
        recipe = with_pictures(Recipe.from_dict(chosen))
        return Planned(setting, chosen, name or recipe.model, resolve(recipe, kind_of(recipe.model)))
    except UserError as error:
        raise UserError(f"cell {name}: {error}" if name else str(error)) from error

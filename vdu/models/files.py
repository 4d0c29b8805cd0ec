"""Which files of a diffusers folder hold the weights of a part: one file or shards, in full precision or as a variant."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vdu.errors import UserError, first_line
from vdu.reading import read_json

FULL = ""  # the variant of files without one
PRECISIONS = (FULL, "fp32", "bf16", "fp16")  # variants that hold the same weights, in the order of choice
# Endings of the files that a model may consist of: configurations, vocabularies, weights. None is executed.
PLAIN = (".json", ".txt", ".model", ".jinja")
WEIGHT = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(\.(?P<variant>\w+))?(-\d+-of-\d+)?(\.(?P<late>\w+))?\.safetensors"
    r"(?P<index>\.index(\.(?P<of_index>\w+))?\.json)?"
)


def weight_sets(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Variant -> its files, by the names of the files in a part's folder; shards without their index are left out."""
    sets: dict[str, list[str]] = defaultdict(list)
    whole = set()
    for name in sorted(names):
        if match := WEIGHT.fullmatch(name):
            variant = match["variant"] or match["late"] or match["of_index"] or FULL
            sets[variant].append(name)
            if match["index"] or "-of-" not in name:
                whole.add(variant)
    return {variant: tuple(files) for variant, files in sets.items() if variant in whole}


def choose(variants: Collection[str]) -> str | None:
    """The variant to load: full precision, else the most precise, else the only one; None if nothing tells which."""
    known = [variant for variant in PRECISIONS if variant in variants]
    return known[0] if known else next(iter(variants)) if len(variants) == 1 else None


def components(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Part -> (library, class), for the parts that a model_index.json names and that are not null."""
    return {
        name: (entry[0], entry[1])
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)
    }


def files_to_fetch(index: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The files of a repository that its model consists of: of every part's weights one variant, and nothing unpicklable.

    Args:
        index: the content of model_index.json, {} without one; names: all paths in the repository.
    """
    paths = [PurePosixPath(name) for name in names]
    wanted, parts = [], set(components(index))
    if not any(path.parts[0] in parts for path in paths if len(path.parts) > 1):  # all files lie beside the index
        parts = {"."}
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if str(path.parent) in parts:
            folders[str(path.parent)].append(path.name)
    for folder, files in folders.items():
        sets = weight_sets(files)
        variant = choose(sets)
        plain = [name for name in files if name.endswith(PLAIN) and not WEIGHT.fullmatch(name)]
        wanted += [str(PurePosixPath(folder, name)) for name in (*plain, *(sets[variant] if variant is not None else ()))]
    return wanted


def check_weights(folder: Path, model: Path, remedy: str) -> tuple[str, list[Path]]:
    """The variant of a part's weights to load, and its files.

    Args:
        folder: the part's folder; model: the model's, for messages; remedy: a sentence on what to do without safetensors.

    Raises:
        UserError: if there are no weights as safetensors, one of several variants cannot be chosen, or a shard is missing.
    """
    where = folder.relative_to(model)
    sets = weight_sets(path.name for path in folder.iterdir()) if folder.is_dir() else {}
    if not sets:
        raise UserError(f"'{model}' has no weights in {where / '*.safetensors'}, {remedy}")
    variant = choose(sets)
    if variant is None:
        raise UserError(f"'{model}' has weights of {where} in {len(sets)} variants, {', '.join(sets)}; keep the one to use.")
    paths = [folder / name for name in sets[variant]]
    for path in paths:
        if path.suffix == ".json" and (gone := missing_shards(path)):
            raise UserError(f"'{model}' lacks {where / min(gone)}, which {path.name} names; fetch or copy it too.")
    return variant, paths


def missing_shards(index: Path) -> set[str]:
    """Names of the shards that an index of shards names and that are not beside it.

    Raises:
        UserError: if the index cannot be read.
    """
    try:
        shards = set(read_json(index)["weight_map"].values())
        return {name for name in shards if not (index.parent / Path(name).name).is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{index}' could not be read: it is not an index of shards.") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a configuration of a model's part; none without a file, which the libraries then name.

    Raises:
        UserError: if it cannot be read, or holds no settings by name.
    """
    if not path.is_file():
        return {}
    try:
        settings = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' could not be read: {first_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(f"'{path}' is no configuration: it must hold an object of settings by name.")
    return settings

"""Pictures of what to forget from a labelled data set on the hub: ylecun/mnist, uoft-cs/cifar10, zh-plus/tiny-imagenet …

They are streamed until there are enough, through the optional package `datasets`; no code of theirs is run.
"""

import re
from functools import lru_cache
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from vdu.data.pictures import MOST_PICTURES, UNREADABLE, as_seen, read_pictures
from vdu.errors import UserError
from vdu.models import first_line, hub

INSTEAD = "Give a folder of pictures."
NAMED = 30  # classes of a data set that a sentence lists
WORDNET = {  # what data sets of ImageNet call some classes -> what vdu.catalog does
    "n01443537": "goldfish",
    "n01641577": "bullfrog",
    "n01774384": "black_widow",
    "n01910747": "jellyfish",
    "n02056570": "king_penguin",
    "n02099601": "golden_retriever",
    "n02123045": "tabby",
    "n02165456": "ladybug",
    "n02279972": "monarch",
    "n03662601": "lifeboat",
    "n04146614": "school_bus",
    "n04285008": "sports_car",
    "n04366367": "suspension_bridge",
    "n04398044": "teapot",
    "n07747607": "orange",
    "n07749582": "lemon",
    "n07873807": "pizza",
    "n07920052": "espresso",
    "n09193705": "alp",
    "n09428293": "seashore",
}


def pictures(where: str, classes: tuple[str, ...], shape: tuple[int, int, int]) -> Tensor:
    """The pictures in a folder or a zip, or those of some classes in a data set on the hub, uint8 (n, c, h, w).

    Args:
        where: a path, or owner/name where there is nothing of that path.
        classes: what is looked for in a data set; a folder has nothing else in it.
        shape: (c, h, w).

    Raises:
        UserError: if there are none, or a data set has no such classes or is not to be had.
    """
    if hub.is_id(where) and not Path(where).exists():
        return streamed(where, classes, shape)
    return read_pictures(Path(where), shape)


@lru_cache(maxsize=2)  # a run asks for them more than once
def streamed(name: str, classes: tuple[str, ...], shape: tuple[int, int, int]) -> Tensor:
    """As many pictures of each class as of any other, in turn, the first `MOST_PICTURES` of a data set's train split.

    It ends when there are so many: a data set in the order of its classes is read as far as the last of them.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"'{name}' is not a folder here; for data sets from the hub: pip install datasets") from error
    with hub.in_one_sentence(name, "data set", INSTEAD):  # at once: the package itself would try for half a minute
        snapshot_download(name, repo_type="dataset", allow_patterns="README.md")
    image = datasets.Image()
    try:
        rows = datasets.load_dataset(name, split="train", streaming=True)
        picture, label, numbers = columns(name, rows.features or {}, classes)
        each, found = MOST_PICTURES // len(numbers), {number: [] for number in numbers}
        # Pictures of other classes are not decoded.
        for row in rows.select_columns([picture, label]).cast_column(picture, datasets.Image(decode=False)):
            mine = found.get(row[label])
            if mine is not None and len(mine) < each:
                mine.append(as_seen(image.decode_example(row[picture]), shape))
                if all(len(those) == each for those in found.values()):
                    break
    except UserError:
        raise
    except (*UNREADABLE, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"'{name}' could not be read as a data set of pictures: {first_line(error)}") from error
    if not all(found.values()):
        raise UserError(f"'{name}' has no picture of {' and '.join(classes)} in its train split.")
    return torch.stack([one for of_each in zip(*found.values(), strict=False) for one in of_each])


def columns(name: str, features: dict, classes: tuple[str, ...]) -> tuple[str, str, list[int]]:
    """The column of pictures, that of labels, and what the labels of some classes are.

    Raises:
        UserError: if there are no such columns, or no such labels.
    """
    from datasets import ClassLabel, Image

    pictures, labels = ([column for column, feature in features.items() if isinstance(feature, kind)]
                        for kind in (Image, ClassLabel))  # fmt: skip
    if not pictures or not labels:
        raise UserError(f"'{name}' has no column of pictures (Image) beside one of their classes (ClassLabel).")
    for label in labels:
        known = numbered(features[label].names)
        if all(plain(wanted) in known for wanted in classes):
            return pictures[0], label, list(dict.fromkeys(known[plain(wanted)] for wanted in classes))
    names = features[labels[0]].names
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    raise UserError(f"'{name}' has no class {' or '.join(classes)}; it has {'; '.join(names[:NAMED])}{more}.")


def numbered(names: list[str]) -> dict[str, int]:
    """The number of each class by all that it may be called: "goldfish, Carassius auratus", "3 - three" go by either part."""
    known: dict[str, int] = {}
    for number, name in enumerate(names):
        for called in (name, *re.split(r",|(?<=\d) - ", name), WORDNET.get(name, name)):
            known.setdefault(plain(called), number)
    return known


def plain(name: str) -> str:
    """A name in lower case, with single spaces for what stands between its words."""
    return " ".join(re.split(r"[\s_]+", name.casefold().strip()))

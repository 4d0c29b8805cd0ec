"""Pictures of what to forget from a labelled data set on the hub: ylecun/mnist, uoft-cs/cifar10, zh-plus/tiny-imagenet …

The optional package `datasets` streams them until there are enough; no code of the data set is run.
"""

import io
import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from huggingface_hub import snapshot_download
from PIL import Image

from vdu.data.cache import Cache
from vdu.data.decoding import MOST_IN_ALL, MOST_PICTURES, TooManyPixels, reduce
from vdu.data.files import Notes
from vdu.data.levels import pixels_of, to_levels
from vdu.data.pictures import Pictures, read_pictures, told
from vdu.errors import UserError, first_line
from vdu.events import Clock, Progress
from vdu.models import hub

INSTEAD = "Give a folder of pictures."
NAMED = 30  # classes of a data set that an error lists at most
WORDNET = {  # class name in ImageNet data sets -> class name in vdu.catalog
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


Reading = Generator[Progress, None, Pictures]
STREAMED: Cache[Pictures] = Cache(limit=256 * 2**20)  # the experiments of a page ask for the same data set several times
UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
EVERY = 100  # rows of a data set that are read before others are served


def pictures(where: str, classes: tuple[str, ...], shape: tuple[int, int, int]) -> Reading:
    """Read the pictures in a folder or zip, or of some classes of a data set on the hub; see `read_pictures`.

    Args:
        where: a path; or a hub id, owner/name, if there is nothing at that path.
        classes: the classes to take from a data set; of a folder, all pictures are taken.
        shape: (c, h, w) of the result's images.

    Raises:
        UserError: if there are no pictures, or a data set lacks the classes or cannot be fetched.
    """
    if hub.is_id(where) and not Path(where).exists():
        found = STREAMED.get((where, classes, shape))
        if found is None:
            found = yield from stream_pictures(where, classes, shape)
            STREAMED.put((where, classes, shape), found, found.images.nbytes)
        return found
    return (yield from read_pictures(Path(where), shape))


def stream_pictures(name: str, classes: tuple[str, ...], shape: tuple[int, int, int]) -> Reading:
    """The first pictures of a data set's train split, equally many of each class and in turn, at most `MOST_PICTURES`.

    Reading stops once there are enough; a data set sorted by class is read up to the last of the classes.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"'{name}' is not a folder here; for data sets from the hub: pip install datasets") from error
    with hub.in_one_sentence(name, "data set", INSTEAD):  # fails at once; `datasets` itself would retry for half a minute
        snapshot_download(name, repo_type="dataset", allow_patterns="README.md")
    image, notes = datasets.Image(), Notes()
    try:
        rows = datasets.load_dataset(name, split="train", streaming=True)
        picture, label, numbers = columns(name, rows.features or {}, classes)
        each, found, left = MOST_PICTURES // len(numbers), {number: [] for number in numbers}, MOST_IN_ALL
        clock = Clock("pictures", each * len(numbers))
        # Pictures of other classes are not decoded.
        rows = rows.select_columns([picture, label]).cast_column(picture, datasets.Image(decode=False))
        for seen, row in enumerate(rows):
            mine = found.get(row[label])
            wanted = mine is not None and len(mine) < each
            if wanted or not seen % EVERY:
                yield clock.progress(sum(map(len, found.values())))
            if wanted:
                packed = row[picture]["bytes"]
                with closing(Image.open(io.BytesIO(packed)) if packed else image.decode_example(row[picture])) as opened:
                    try:
                        left -= reduce(opened, shape, left)
                        mine.append(pixels_of(opened, shape))
                    except TooManyPixels:
                        raise
                    except UserError as error:  # this picture alone is of no use
                        notes.leave_out(str(error), f"row {seen}")
                if all(len(kept) == each for kept in found.values()):
                    break
    except UserError:
        raise
    except (*UNREADABLE, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"'{name}' could not be read as a data set of pictures: {first_line(error)}") from error
    if not all(found.values()):
        none = f"'{name}' has no usable picture of {' and '.join(classes)} in its train split"
        raise UserError("; ".join([none, *notes.sentences()]) + ".")
    in_turn = [one for of_each in zip(*found.values(), strict=False) for one in of_each]
    return told(to_levels(in_turn, notes), notes)


def columns(name: str, features: dict, classes: tuple[str, ...]) -> tuple[str, str, list[int]]:
    """The names of the picture column and the label column, and the label numbers of some classes.

    Raises:
        UserError: if there are no such columns, or no such labels.
    """
    from datasets import ClassLabel, Image

    pictures, labels = ([column for column, feature in features.items() if isinstance(feature, kind)]
                        for kind in (Image, ClassLabel))  # fmt: skip
    if not pictures or not labels:
        raise UserError(f"'{name}' lacks a column of pictures (Image) or of their classes (ClassLabel).")
    for label in labels:
        known = class_numbers(features[label].names)
        if all(normalise(wanted) in known for wanted in classes):
            return pictures[0], label, list(dict.fromkeys(known[normalise(wanted)] for wanted in classes))
    names = features[labels[0]].names
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    raise UserError(f"'{name}' has no class {' or '.join(classes)}; it has {'; '.join(names[:NAMED])}{more}.")


def class_numbers(names: list[str]) -> dict[str, int]:
    """Every name of a class -> its number; "goldfish, Carassius auratus" and "3 - three" count as two names each."""
    known: dict[str, int] = {}
    for number, name in enumerate(names):
        for called in (name, *re.split(r",|(?<=\d) - ", name), WORDNET.get(name, name)):
            known.setdefault(normalise(called), number)
    return known


def normalise(name: str) -> str:
    """A name in lower case, with single spaces between its words."""
    return " ".join(re.split(r"[\s_]+", name.casefold().strip()))

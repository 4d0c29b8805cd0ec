"""A user's own pictures, read from a folder or a zip and brought to the shape of a model's images."""

import warnings
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vdu.data.decoding import MOST_IN_ALL, MOST_PICTURES, decode
from vdu.data.files import Notes, find_pictures, shortened
from vdu.data.levels import Pixels, Shape, to_levels
from vdu.errors import PictureWarning, UserError
from vdu.events import Clock, Progress

FIRST_FRAME = "{names} {are} moving, or of several pages: only the first frame is used"
ONE_COLOUR = "{names} {are} of one colour alone"
COPY = "alike to another picture"


class Pictures(NamedTuple):
    """A user's pictures.

    Attributes:
        images: uint8 (n, c, h, w).
        notes: sentences, without a full stop, on what is left out, not used, or assumed.
    """

    images: Tensor
    notes: tuple[str, ...] = ()


def told(images: Iterable[Tensor], notes: Notes) -> Pictures:
    """Pictures, each uint8 (c, h, w), and their notes, of which this warns."""
    for sentence in notes.sentences():
        warnings.warn(sentence, PictureWarning, stacklevel=3)
    return Pictures(torch.stack([*images]), tuple(notes.sentences()))


def read_pictures(where: Path, shape: Shape) -> Generator[Progress, None, Pictures]:
    """Read the pictures in a folder or a zip, in the order of their names, and bring them to a shape (c, h, w).

    It yields before each picture, so that others can be served, and may be closed there.

    Args:
        where: a folder, a zip or a single picture.
        shape: (c, h, w) of the result's images.

    Returns:
        the pictures, each once; warnings repeat their notes.

    Raises:
        UserError: if there is no such folder, no usable picture in it, none with more than one colour, or more than
            `MOST_PICTURES` or `MOST_IN_ALL` pixels, or its pictures lie in several folders.
    """
    if not where.exists():
        raise UserError(f"There is no folder of pictures '{shortened(str(where))}' here; give the path of one.")
    read, notes = yield from read_files([where], shape)
    pictures = list(read.values())
    if not pictures:
        raise UserError("; ".join([f"There is no picture in '{shortened(where)}' that can be read", *notes.sentences()]) + ".")
    if all(map(is_one_colour, pictures)):
        raise UserError(f"Every picture in '{shortened(where)}' is of one colour alone, so they show nothing; give others.")
    return told(pictures, notes)


def read_each(paths: Iterable[Path], shape: Shape) -> Generator[Progress, None, tuple[dict[Path, Tensor], list[str]]]:
    """Read files, and zips of them; it yields before each picture.

    Returns:
        path -> picture (c, h, w) for every readable file; that of a picture in a zip is the zip's path followed by the
        picture's name in the zip. And a sentence per kind of note on what is not used, or is assumed.

    Raises:
        UserError: if there are more than `MOST_PICTURES` pictures or `MOST_IN_ALL` pixels, or the pictures of a zip lie in
            several folders.
    """
    pictures, notes = yield from read_files(paths, shape)
    return pictures, notes.sentences()


def read_files(paths: Iterable[Path], shape: Shape) -> Generator[Progress, None, tuple[dict[Path, Tensor], Notes]]:
    """As `read_each`, with the notes themselves."""
    read: dict[Path, Pixels] = {}
    files = find_pictures(paths, notes := Notes())
    if len(files) > MOST_PICTURES:
        raise UserError(f"There are more than {MOST_PICTURES} pictures; give at most {MOST_PICTURES}.")
    clock, left = Clock("pictures", len(files)), MOST_IN_ALL
    for done, file in enumerate(files):
        yield clock.progress(done)
        if not file.size:
            notes.leave_out("empty", file.path.name)
            continue
        decoded = decode(file, shape, left)
        left -= decoded.cost
        if decoded.pixels is None:
            notes.leave_out(decoded.problem, file.path.name)
            continue
        read[file.path] = decoded.pixels
        if decoded.several:
            notes.add(FIRST_FRAME, file.path.name)
    pictures = dict(zip(read, to_levels([*read.values()], notes), strict=True))
    for path, picture in pictures.items():
        if is_one_colour(picture):
            notes.add(ONE_COLOUR, path.name)
    once: dict[bytes, Path] = {}
    for path, picture in pictures.items():
        if once.setdefault(as_bytes(picture), path) != path:
            notes.leave_out(COPY, path.name)
    return {path: pictures[path] for path in once.values()}, notes


def as_bytes(picture: Tensor) -> bytes:
    """The pixels of a picture, uint8 (c, h, w); copies have the same."""
    return picture.numpy().tobytes()


def is_one_colour(picture: Tensor) -> bool:
    """Whether all pixels of a picture (c, h, w) are alike."""
    return bool((picture == picture[:, :1, :1]).all())

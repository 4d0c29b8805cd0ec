"""A user's own pictures, read from a folder or a zip and brought to the shape of a model's images."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vdu.data.files import FORMATS, Notes, find_pictures
from vdu.data.levels import Pixels, Shape, pixels_of, to_levels
from vdu.errors import UserError

MOST_PICTURES = 500
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
REASONS = (  # (exception, meaning); the first that fits applies
    ((Image.DecompressionBombError, Image.DecompressionBombWarning), f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"),
    (Exception, "broken, or of a kind that cannot be read; save it as PNG or JPEG"),
)
FIRST_FRAME = "{names} {are} moving, or of several pages: only the first frame is used"
ONE_COLOUR = "{names} {are} of one colour alone"
COPY = "alike to another picture"


class PictureWarning(UserWarning):
    """What a user must know of their pictures: what is left out, not used, or assumed."""


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


def read_pictures(where: Path, shape: Shape) -> Pictures:
    """The pictures in a folder or a zip, in the order of their names, brought to a shape (c, h, w).

    Args:
        where: a folder, a zip or a single picture.
        shape: (c, h, w) of the result's images.

    Returns:
        the pictures, each once; warnings repeat their notes.

    Raises:
        UserError: if there is no such folder, no usable picture in it, none with more than one colour, or more than
            `MOST_PICTURES`, or its pictures lie in several folders.
    """
    if not where.exists():
        raise UserError(f"There is no folder of pictures '{where}'.")
    read, notes = read_files([where], shape)
    pictures = list(read.values())
    if not pictures:
        raise UserError("; ".join([f"There is no picture in '{where}' that can be read", *notes.sentences()]) + ".")
    if all(map(is_one_colour, pictures)):
        raise UserError(f"Every picture in '{where}' is of one colour alone, so they show nothing; give others.")
    return told(pictures, notes)


def read_each(paths: Iterable[Path], shape: Shape) -> tuple[dict[Path, Tensor], list[str]]:
    """(path -> picture (c, h, w) for every readable file, also inside zips; a sentence on what is not used, or is assumed).

    The path of a picture in a zip is the zip's path followed by the picture's name in the zip.

    Raises:
        UserError: if there are more than `MOST_PICTURES` pictures, or those of a zip lie in several folders.
    """
    pictures, notes = read_files(paths, shape)
    return pictures, notes.sentences()


def read_files(paths: Iterable[Path], shape: Shape) -> tuple[dict[Path, Tensor], Notes]:
    """As `read_each`, with the notes themselves."""
    read: dict[Path, Pixels] = {}
    files = find_pictures(paths, notes := Notes())
    if len(files) > MOST_PICTURES:
        raise UserError(f"There are more than {MOST_PICTURES} pictures; give at most {MOST_PICTURES}.")
    for file in files:
        if not file.size:
            notes.leave_out("empty", file.path.name)
            continue
        try:
            with file.open() as opened:
                read[file.path] = read_picture(opened, shape, notes, file.path.name)
        except UserError as error:
            notes.leave_out(str(error), file.path.name)
        except Exception as error:  # Pillow and zipfile raise many kinds of errors for broken files
            notes.leave_out(next(words for kind, words in REASONS if isinstance(error, kind)), file.path.name)
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


def read_picture(file: BinaryIO, shape: Shape, notes: Notes, name: str) -> Pixels:
    """One picture, brought to a shape (c, h, w); a note says if it has more frames than the one that is read.

    Raises:
        UserError: if no one knows which number in it is white.
        UNREADABLE: one of these errors, for a file that is no picture, is broken or has too many pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(file, formats=FORMATS)
        # Cameras add a preview as a second frame to a JPEG, which is then of the format MPO.
        several = image.format != "MPO" and getattr(image, "is_animated", False)
        pixels = pixels_of(image, shape)
    if several:
        notes.add(FIRST_FRAME, name)
    return pixels


def is_one_colour(picture: Tensor) -> bool:
    """Whether all pixels of a picture (c, h, w) are alike."""
    return bool((picture == picture[:, :1, :1]).all())

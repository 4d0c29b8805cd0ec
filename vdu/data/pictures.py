"""A user's own pictures: read from a folder or a zip, as a model of images of some shape sees them."""

import io
import lzma
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vdu.errors import UserError

MOST_PICTURES = 500
LARGEST_FILE = 20 * 2**20  # bytes
BROKEN_ZIP = (  # or what is in it: broken, encrypted, or packed in a way that is not known here
    zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError, OSError, lzma.LZMAError,
)  # fmt: skip
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
REASONS = (  # what Pillow raises -> what it means; the first that fits
    (UnidentifiedImageError, f"it is none of {', '.join(FORMATS)}, or broken"),
    ((Image.DecompressionBombError, Image.DecompressionBombWarning), f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"),
    (UserError, "its pixels are 32-bit numbers, of which nobody knows what is white; save it with 8 or 16 bits"),
    (Exception, "it is broken"),
)


def read_pictures(folder: Path, shape: tuple[int, int, int]) -> Tensor:
    """The pictures in a folder or a zip, in the order of their names, as a model of images of a shape (c, h, w) sees them.

    Returns:
        uint8 (n, c, h, w). A file that cannot be used is left out, with a warning that names it.

    Raises:
        UserError: if there is no such folder, no usable picture in it, or more than `MOST_PICTURES`.
    """
    if not folder.is_dir() and not is_zip(folder):
        raise UserError(f"There is no folder of pictures '{folder}'.")
    paths = [folder]
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    pictures, left_out = read_each(paths, shape)
    for why in left_out:
        warnings.warn(why, stacklevel=2)
    if not pictures:
        raise UserError(f"There is no picture in '{folder}' that can be read.")
    return torch.stack(list(pictures.values()))


def read_each(paths: Iterable[Path], shape: tuple[int, int, int]) -> tuple[dict[Path, Tensor], list[str]]:
    """What `read_picture` makes of each file that it can read, also of those in zips, and a sentence on each that it cannot.

    A picture in a zip goes by the zip's path and its own name in it.

    Raises:
        UserError: if there are more than `MOST_PICTURES` files.
    """
    pictures, left_out = {}, []
    for count, (path, file) in enumerate(files_of(paths, left_out)):
        if count == MOST_PICTURES:
            raise UserError(f"These are more than {MOST_PICTURES} files; give at most {MOST_PICTURES} pictures.")
        try:
            pictures[path] = read_picture(file, shape)
        except Exception as error:  # Pillow raises all kinds of things for broken files
            why = next(words for kind, words in REASONS if isinstance(error, kind))
            left_out.append(f"'{path.name}' is left out: {why}")
    return pictures, left_out


def files_of(paths: Iterable[Path], left_out: list[str]) -> Iterator[tuple[Path, Path | io.BytesIO]]:
    """Files, and those inside of zips, with what can be opened; what is not even looked at joins `left_out`."""
    for path in paths:
        if not is_zip(path):
            yield path, path
            continue
        try:
            archive = zipfile.ZipFile(path)
        except BROKEN_ZIP as error:
            left_out.append(f"'{path.name}' is left out: {error}")
            continue
        with archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                name = Path(member.filename.lstrip("/"))
                if member.is_dir() or name.name.startswith(".") or "__MACOSX" in name.parts:
                    continue
                if member.file_size > LARGEST_FILE:  # unpacked: a small zip may hold a very large file
                    left_out.append(f"'{name.name}' is left out: it is larger than {LARGEST_FILE // 2**20} MiB")
                    continue
                try:
                    yield path / name, io.BytesIO(archive.read(member))
                except BROKEN_ZIP as error:
                    left_out.append(f"'{name.name}' is left out: {error}")


def is_zip(path: Path) -> bool:
    """Whether a path is a zip, going by its name and its beginning."""
    return path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)


def read_picture(file: Path | io.BytesIO, shape: tuple[int, int, int]) -> Tensor:
    """One picture `as_seen`.

    Raises:
        UNREADABLE: for files that are no pictures or broken ones, and for those that are too large to be meant.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return as_seen(Image.open(file, formats=FORMATS), shape)


def as_seen(image: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    """A picture, turned as its camera was held, on white where it is transparent, its centre cropped, uint8 (c, h, w)."""
    channels, height, width = shape
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip it to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError("A picture's pixels are 32-bit numbers; save it with 8 or 16 bits.")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if channels == 1:  # by way of RGB, because not every mode becomes grey at once
        image = image.convert("L")
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(fitted).copy()).reshape(height, width, channels).permute(2, 0, 1)

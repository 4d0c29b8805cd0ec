"""A user's own pictures, read from a folder or a zip and brought to the shape of a model's images."""

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
LARGEST_FILE = 20 * 2**20  # bytes of a file in a zip, unpacked
BROKEN_ZIP = (  # raised for a zip or a file in it that is broken, encrypted, or packed by an unknown method
    zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError, OSError, lzma.LZMAError,
)  # fmt: skip
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
REASONS = (  # (exception, meaning); the first that fits applies
    (UnidentifiedImageError, f"it is broken, or not one of {', '.join(FORMATS)}"),
    ((Image.DecompressionBombError, Image.DecompressionBombWarning), f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"),
    (UserError, "its pixels are 32-bit numbers without a known white; save it with 8 or 16 bits"),
    (Exception, "it is broken"),
)


def read_pictures(folder: Path, shape: tuple[int, int, int]) -> Tensor:
    """The pictures in a folder or a zip, in the order of their names, brought to a shape (c, h, w).

    Returns:
        uint8 (n, c, h, w). A file that cannot be used is left out, and a warning names it.

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
    """(path -> picture (c, h, w) for every readable file, also inside zips; one sentence for each file that is left out).

    The path of a picture in a zip is the zip's path followed by the picture's name in the zip.

    Raises:
        UserError: if there are more than `MOST_PICTURES` files.
    """
    pictures, left_out = {}, []
    for count, (path, file) in enumerate(files_of(paths, left_out)):
        if count == MOST_PICTURES:
            raise UserError(f"There are more than {MOST_PICTURES} files; give at most {MOST_PICTURES} pictures.")
        try:
            pictures[path] = read_picture(file, shape)
        except Exception as error:  # Pillow raises many kinds of errors for broken files
            why = next(words for kind, words in REASONS if isinstance(error, kind))
            left_out.append(f"'{path.name}' is left out: {why}")
    return pictures, left_out


def files_of(paths: Iterable[Path], left_out: list[str]) -> Iterator[tuple[Path, Path | io.BytesIO]]:
    """(path, file to open) of files, also inside zips; a sentence on each unusable zip or file in it joins `left_out`."""
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
                if member.file_size > LARGEST_FILE:  # checked before unpacking: a small zip may hold a very large file
                    left_out.append(f"'{name.name}' is left out: it is larger than {LARGEST_FILE // 2**20} MiB")
                    continue
                try:
                    yield path / name, io.BytesIO(archive.read(member))
                except BROKEN_ZIP as error:
                    left_out.append(f"'{name.name}' is left out: {error}")


def is_zip(path: Path) -> bool:
    """Whether a path is a zip, by its name and its content."""
    return path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)


def read_picture(file: Path | io.BytesIO, shape: tuple[int, int, int]) -> Tensor:
    """One picture, brought to a shape (c, h, w) by `to_model_shape`.

    Raises:
        UNREADABLE: one of these errors, for a file that is no picture, is broken or has too many pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return to_model_shape(Image.open(file, formats=FORMATS), shape)


def to_model_shape(image: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    """A picture as uint8 (c, h, w): upright by its EXIF data, on white if transparent, its centre cropped and resized.

    Raises:
        UserError: if its pixels are 32-bit numbers.
    """
    channels, height, width = shape
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip it to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError("A picture's pixels are 32-bit numbers; save it with 8 or 16 bits.")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if channels == 1:  # by way of RGB, since not every mode converts to grey directly
        image = image.convert("L")
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(fitted).copy()).reshape(height, width, channels).permute(2, 0, 1)

"""Forget images: real pictures of the class to forget."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vdu.errors import UserError

SHEET_COLUMNS = 25
MOST_PICTURES = 64
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def write_sheet(images: Tensor, path: Path, columns: int = SHEET_COLUMNS) -> None:
    """Write uint8 images (n, c, h, w), n a multiple of `columns`, as one PNG, row by row and without borders."""
    count, channels, height, width = images.shape
    rows = images.reshape(count // columns, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = rows.reshape(-1, columns * width, channels)
    Image.fromarray((pixels[..., 0] if channels == 1 else pixels).contiguous().numpy()).save(path, optimize=True)


def read_sheet(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Read what `write_sheet` wrote: uint8 images (n, c, h, w) of a shape (c, h, w)."""
    channels, height, width = shape
    image = Image.open(path).convert("L" if channels == 1 else "RGB")
    pixels = torch.from_numpy(np.asarray(image).copy()).reshape(image.height, image.width, channels)
    rows, columns = image.height // height, image.width // width
    return pixels.reshape(rows, height, columns, width, channels).permute(0, 2, 4, 1, 3).reshape(-1, *shape)


def choose(available: int, count: int, seed: int) -> list[int]:
    """`count` of so many rows, chosen by seed; a smaller count chooses a subset of a larger one's."""
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count].tolist()


def read_pictures(folder: Path, shape: tuple[int, int, int]) -> Tensor:
    """The pictures in a folder, in the order of their names, as a model of images of a shape (c, h, w) sees them.

    Returns:
        uint8 (n, c, h, w). A file that cannot be used is left out, with a warning that names it.

    Raises:
        UserError: if there is no such folder, no usable picture in it, or more than `MOST_PICTURES`.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder of pictures '{folder}'.")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(paths) > MOST_PICTURES:
        raise UserError(f"'{folder}' holds {len(paths)} files; put at most {MOST_PICTURES} pictures there.")
    pictures, left_out = read_each(paths, shape)
    for why in left_out:
        warnings.warn(why, stacklevel=2)
    if not pictures:
        raise UserError(f"There is no picture in '{folder}' that can be read.")
    return torch.stack(list(pictures.values()))


def read_each(paths: Iterable[Path], shape: tuple[int, int, int]) -> tuple[dict[Path, Tensor], list[str]]:
    """What `read_picture` makes of each file that it can read, and a sentence on each that it cannot."""
    pictures, left_out = {}, []
    for path in paths:
        try:
            pictures[path] = read_picture(path, shape)
        except UNREADABLE as error:
            left_out.append(f"'{path.name}' is left out: {error}")
    return pictures, left_out


def read_picture(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """One picture, turned as its camera was held, on white where it is transparent, its centre cropped, uint8 (c, h, w).

    Raises:
        UNREADABLE: for files that are no pictures or broken ones, and for those that are too large to be meant.
    """
    channels, height, width = shape
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = ImageOps.exif_transpose(Image.open(path, formats=FORMATS))
        if image.mode.startswith("I;16"):  # Pillow would clip it to 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(fitted).copy()).reshape(height, width, channels).permute(2, 0, 1)

"""Sheets: shipped pictures of one class, side by side on a single PNG."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SHEET_COLUMNS = 25


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
    """`count` of `available` row numbers, chosen by seed; a smaller count chooses a subset of a larger count's rows."""
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count].tolist()

"""Forget images: real pictures of the class to forget."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SHEET_COLUMNS = 25


def write_sheet(images: Tensor, path: Path, columns: int = SHEET_COLUMNS) -> None:
    """Write grey uint8 images (n, 1, h, w), n a multiple of `columns`, as one PNG, row by row and without borders."""
    count, _, height, width = images.shape
    rows = images[:, 0].reshape(count // columns, columns, height, width).permute(0, 2, 1, 3)
    Image.fromarray(rows.reshape(-1, columns * width).contiguous().numpy()).save(path, optimize=True)


def read_sheet(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Read what `write_sheet` wrote: uint8 images (n, 1, h, w)."""
    _, height, width = shape
    pixels = torch.from_numpy(np.asarray(Image.open(path).convert("L")).copy())
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    return pixels.reshape(rows, height, columns, width).permute(0, 2, 1, 3).reshape(rows * columns, 1, height, width)


def choose(images: Tensor, count: int, seed: int) -> Tensor:
    """`count` of the images, chosen by seed; a smaller count chooses a subset of a larger one's."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:count]]

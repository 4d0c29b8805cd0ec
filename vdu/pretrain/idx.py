"""The IDX files of MNIST and Fashion-MNIST, plain or compressed (format: http://yann.lecun.com/exdb/mnist/)."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vdu.errors import UserError

SIDE, CLASSES = 28, 10
# Name in a file's name -> its first bytes: zeros, the type (unsigned bytes) and the number of dimensions.
MAGIC = {"images-idx3": bytes((0, 0, 8, 3)), "labels-idx1": bytes((0, 0, 8, 1))}


def read_idx(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) uint8 and labels (n,) int64 of "train" or "t10k".

    Raises:
        UserError: if a file is missing or holds something else.
    """
    images, labels = (read_array(folder, f"{part}-{name}-ubyte", magic) for name, magic in MAGIC.items())
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels) or not len(labels) or labels.max() >= CLASSES:
        raise UserError(
            f"The {part} files in '{folder}' hold {len(images):,} pictures of {'×'.join(map(str, images.shape[1:]))} and "
            f"{len(labels):,} labels; they must be those of MNIST or Fashion-MNIST."
        )
    return torch.from_numpy(images[:, None].copy()), torch.from_numpy(labels.astype(np.int64))


def check_both(folder: Path) -> None:
    """Read the files for training and for testing; call this before long training, which reads the latter at its end.

    Raises:
        UserError: if they are not all there.
    """
    for part in ("train", "t10k"):
        read_idx(folder, part)


def read_array(folder: Path, name: str, magic: bytes) -> np.ndarray:
    """The unsigned bytes of one file, in its own shape.

    Raises:
        UserError: if the file is missing, cut short or of another format.
    """
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise UserError(f"'{folder}' lacks {name}; give a folder of (Fashion-)MNIST IDX files with --data.")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from error
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * magic[3]], ">u4").tolist()) if content[:4] == magic else ()
    start = 4 + 4 * len(shape)
    if not shape or len(shape) != magic[3] or len(content) - start != np.prod(shape, dtype=np.int64):
        raise UserError(f"'{path}' is no whole IDX file; fetch it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)

"""The shipped forget images in the file format of MNIST."""

from pathlib import Path

import numpy as np

from vdu.catalog import CATALOG


def write_idx(folder: Path, each: int | None = None) -> Path:
    """Write images and labels, `each` of every digit or all that ship, as IDX files into a new folder."""
    folder.mkdir()
    entry = CATALOG["mnist-ddpm"]
    images = [entry.pictures.examples(name)[:each].numpy() for name in entry.classes]
    labels = np.repeat(np.arange(10, dtype=np.uint8), [len(part) for part in images])
    for name, content in (("images-idx3", np.concatenate(images)[:, 0]), ("labels-idx1", labels)):
        head = bytes((0, 0, 8, content.ndim)) + np.array(content.shape, ">u4").tobytes()
        (folder / f"train-{name}-ubyte").write_bytes(head + content.tobytes())
    return folder

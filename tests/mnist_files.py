"""The shipped forget images in the file format of MNIST."""

from pathlib import Path

import numpy as np

from vdu.catalog import CATALOG


def write_idx(folder: Path) -> Path:
    """Write images and labels as IDX files into a new folder."""
    folder.mkdir()
    entry = CATALOG["mnist-ddpm"]
    images = [entry.pictures.examples(name).numpy() for name in entry.classes]
    labels = np.repeat(np.arange(10, dtype=np.uint8), [len(part) for part in images])
    (folder / "train-images-idx3-ubyte").write_bytes(bytes(16) + np.concatenate(images).tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(bytes(8) + labels.tobytes())
    return folder

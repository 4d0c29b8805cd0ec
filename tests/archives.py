"""Archives of pictures to train on."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": "red", "green": "green", "blue": "blue"}


def archive_of(path: Path, per_class: int, classes: Mapping[str, str] = COLOURS, parts: Sequence[str] = ("train",)) -> Path:
    """Write an archive of pictures, with one colour per class, for training and perhaps testing."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for part in parts:
            for name, colour in classes.items():
                for number in range(per_class):
                    noise = random.integers(0, 40, (32, 32, 3), dtype=np.uint8)
                    picture = Image.blend(Image.new("RGB", (32, 32), colour), Image.fromarray(noise), 0.3)
                    picture.save(packed := io.BytesIO(), "PNG")
                    member = tarfile.TarInfo(f"{part}/{name}/{number:03d}.png")
                    member.size = len(packed.getvalue())
                    archive.addfile(member, io.BytesIO(packed.getvalue()))
    return path

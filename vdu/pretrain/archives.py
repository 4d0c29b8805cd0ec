"""Sets of photographs to train on: their archives, and the size of the network and the judge for each."""

import io
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vdu.assets import ASSETS
from vdu.errors import UserError

Pictures = tuple[list[str], Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Kind:
    """Settings for one set of photographs.

    Attributes:
        size: height and width of the pictures in pixels.
        channels: channels of the network per level.
        attention: how many of the last levels have attention.
        held_out: training pictures per class that become the judge's test set; 0 if the archive has a test set.
        epochs: training epochs of the judge.
        judge_batch: batch size of the judge.
        judge_starts: folder of a judge whose convolutions this judge starts from; None for random weights.
    """

    size: int
    channels: tuple[int, ...]
    attention: int
    held_out: int
    epochs: int
    judge_batch: int = 512
    judge_starts: Path | None = None

    @property
    def unet(self) -> dict:
        """Arguments of `UNet2DModel`. Eight groups, as many small ones are slow in channels-last bfloat16 on a CPU."""
        down = ["DownBlock2D"] * (len(self.channels) - self.attention) + ["AttnDownBlock2D"] * self.attention
        return {
            "sample_size": self.size,
            "in_channels": 3,
            "out_channels": 3,
            "layers_per_block": 2,
            "block_out_channels": self.channels,
            "down_block_types": tuple(down),
            "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
            "norm_num_groups": 8,
            "attention_head_dim": 64,
        }


KINDS = {
    "cifar10": Kind(32, (64, 128, 192), 2, 0, 48),
    "tiny-imagenet": Kind(64, (32, 64, 128, 128), 2, 100, 30, 128, ASSETS / "cifar10-ddpm" / "classifier"),
}


def read_archive(path: Path, kind: Kind) -> Pictures:
    """Classes; uint8 images (n, 3, size, size) and labels (n,) for training; the same for testing.

    Raises:
        UserError: if the archive cannot be read, or has no pictures in train/CLASS/ or, for measuring, test/CLASS/.
    """
    found: dict[str, dict[str, list[np.ndarray]]] = {"train": {}, "test": {}}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                parts = Path(member.name).parts
                if member.isfile() and len(parts) >= 3 and parts[-3] in found:
                    picture = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                    found[parts[-3]].setdefault(parts[-2], []).append(np.asarray(picture.resize((kind.size, kind.size))))
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise UserError(f"'{path}' could not be read as an archive of pictures: {error}") from error
    classes = sorted(found["train"])
    sets = []
    for part in ("train", "test"):
        pictures = [found[part].get(name, []) for name in classes]
        if kind.held_out:
            rows = slice(None, -kind.held_out) if part == "train" else slice(-kind.held_out, None)
            pictures = [found["train"][name][rows] for name in classes]
        if not any(pictures):
            raise UserError(f"'{path}' has no pictures to {part} with; name an archive with train/CLASS/ and test/CLASS/.")
        images = torch.from_numpy(np.stack([picture for group in pictures for picture in group])).permute(0, 3, 1, 2)
        sets += [images.contiguous(), torch.tensor([index for index, group in enumerate(pictures) for _ in group])]
    return classes, *sets

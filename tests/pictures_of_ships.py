"""A model of 24×24 grey images without a judge, and folders of pictures to fit a judge on."""

from pathlib import Path

import torch
from dummies import dummy_ddpm
from torch import Tensor

from vdu.catalog import CATALOG
from vdu.judges.fitted import FEWEST
from vdu.sheet import as_picture

PHOTOGRAPHS = CATALOG["cifar10-ddpm"]


def of_class(name: str) -> Tensor:
    """25 pictures of a class of photographs, (25, 3, 32, 32)."""
    return PHOTOGRAPHS.pictures.examples(name)


def of_others(name: str) -> Tensor:
    """Pictures of all other classes, in mixed order."""
    return torch.stack([of_class(other) for other in PHOTOGRAPHS.classes if other != name], dim=1).flatten(0, 1)


def save(images: Tensor, folder: Path) -> str:
    """Write pictures as files into a new folder."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        as_picture(pixels).save(folder / f"{number:03d}.png")
    return str(folder)


def write_all(folder: Path) -> Path:
    """Write ddpm/, ships/, others/, few/, and two folders of noise."""
    dummy_ddpm(folder / "ddpm", size=24, channels=1)
    save(of_class("ship"), folder / "ships")
    save(of_others("ship")[:60], folder / "others")
    save(of_class("ship")[: FEWEST - 1], folder / "few")
    noise = torch.randint(0, 256, (80, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save(noise[:16], folder / "noise")
    save(noise[16:], folder / "more-noise")
    return folder

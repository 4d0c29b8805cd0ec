"""The catalog: the models that can be chosen by name, with their classes, judges and pictures; read without torch."""

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vdu.assets import ASSETS
from vdu.concepts.base import Axes, Concept

if TYPE_CHECKING:
    from vdu.data.forget_set import RealSheets
    from vdu.judges.classifier import ShippedJudge

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TINY_IMAGENET = ("alp", "black_widow", "bullfrog", "espresso", "golden_retriever", "goldfish", "jellyfish", "king_penguin",
                 "ladybug", "lemon", "lifeboat", "monarch", "orange", "pizza", "school_bus", "seashore", "sports_car",
                 "suspension_bridge", "tabby", "teapot")  # fmt: skip
GARMENTS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Entry:
    """One row of the catalog.

    Attributes:
        name: the model's name in a recipe; title: its name on the page.
        axes: what its images are judged by, axis -> classes; it can be asked to forget any of these classes.
        shape: (c, h, w) of its images.
        licence: of the weights and of their training data.
        sheets: the class in `vdu.data.forget_set` that reads its pictures.
        takes_prompts: whether it is a text-to-image model.
        judged_by: the entry whose judge and real pictures it shares; "" for its own.
    """

    name: str
    title: str
    axes: Axes
    shape: tuple[int, int, int]
    licence: str
    sheets: str
    takes_prompts: bool = False
    judged_by: str = ""

    @property
    def folder(self) -> Path:
        """A plain diffusers folder, perhaps with forget/, drawn/, posterior/ and the files of `judge_folder`."""
        return ASSETS / self.name

    @property
    def judge_folder(self) -> Path:
        """The folder that holds classifier/, statistics.safetensors and features.safetensors."""
        return ASSETS / (self.judged_by or self.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, axis by axis."""
        return tuple(name for names in self.axes.values() for name in names)

    @property
    def pictures(self) -> "RealSheets":
        """The source of the shipped pictures."""
        kind = getattr(importlib.import_module("vdu.data.forget_set"), self.sheets)  # imports torch
        return kind(self.folder, self.shape, self.axes) if len(self.axes) > 1 else kind(self.folder, self.shape)

    def concept(self, forget: str, keep: tuple[str, ...] = (), forgotten: tuple[str, ...] = ()) -> Concept:
        """The concept that a name stands for in this model; an unknown name is refused when the concept is first used."""
        from vdu.concepts.attributes import AttributeConcept, read_words
        from vdu.concepts.classes import ClassConcept

        if self.takes_prompts:
            return AttributeConcept(self.name, self.axes, forget, forgotten, read_words(self.folder), keep)
        return ClassConcept(self.name, self.axes, forget, forgotten)

    @cached_property
    def judge(self) -> "ShippedJudge":
        """The shipped judge."""
        from vdu.judges.classifier import ShippedJudge

        return ShippedJudge(self.judged_by or self.name, self.judge_folder / "classifier", self.axes)


ENTRIES = (
    Entry(
        name="mnist-ddpm",
        title="MNIST digits · DDPM, 28×28",
        axes={"digit": DIGITS},
        shape=(1, 28, 28),
        licence="weights MIT; MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0",
        sheets="RealSheets",
    ),
    Entry(
        name="tiny-sd",
        title="Garments in colours · Stable Diffusion, 32×32",
        axes={"garment": GARMENTS, "colour": COLOURS},
        shape=(3, 32, 32),
        licence="weights and pictures MIT; made from Fashion-MNIST, Zalando SE, MIT",
        sheets="AttributeSheets",
        takes_prompts=True,
    ),
    Entry(
        name="cifar10-ddpm",
        title="CIFAR-10 photographs · DDPM, 32×32",
        axes={"class": CIFAR10},
        shape=(3, 32, 32),
        licence="weights MIT; CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, without a licence of its own",
        sheets="DrawnSheets",
    ),
    Entry(
        name="cifar10-sd",
        title="Photographs by prompt · Stable Diffusion, 32×32",
        axes={"class": CIFAR10},
        shape=(3, 32, 32),
        licence="weights MIT; CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, without a licence of its own",
        sheets="DrawnSheets",
        takes_prompts=True,
        judged_by="cifar10-ddpm",
    ),
    Entry(
        name="tiny-imagenet-ddpm",
        title="tinyImageNet, 20 classes · DDPM, 64×64",
        axes={"class": TINY_IMAGENET},
        shape=(3, 64, 64),
        licence="weights MIT; ImageNet's pictures are for research",
        sheets="DrawnSheets",
    ),
)
CATALOG: dict[str, Entry] = {entry.name: entry for entry in ENTRIES if (entry.folder / "unet").is_dir()}
TRAIN_FIRST = {  # models that ship without weights -> the command that trains them
    entry.name: f"python -m vdu pretrain {entry.name.removesuffix('-ddpm')} --data ARCHIVE"
    for entry in ENTRIES
    if entry.name not in CATALOG
}
# Models on the hub whose repositories have all parts as safetensors -> title on the page.
LISTED = {
    "CompVis/stable-diffusion-v1-4": "Stable Diffusion 1.4 · 512×512",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "Stable Diffusion 1.5 · 512×512",
    "nota-ai/bk-sdm-small": "BK-SDM small, distilled · 512×512",
    "nota-ai/bk-sdm-tiny": "BK-SDM tiny, distilled · 512×512",
    "google/ddpm-cifar10-32": "CIFAR-10, 35.7 M parameters · DDPM, 32×32",
}
SHARED_JUDGE = {"google/ddpm-cifar10-32": "cifar10-ddpm"}  # unconditional models -> the entry that judges their images
WITH_JUDGE = [entry for entry in ENTRIES if (entry.judge_folder / "classifier").is_dir()]  # a judge may ship without its model


def entry_of(name: str) -> Entry | None:
    """The entry for a model's name: its own, or the one whose judge a listed hub model shares; else None."""
    return CATALOG.get(SHARED_JUDGE.get(name, name))

"""The catalog: the models that can be chosen by name, with their classes, judges and pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vdu.assets import ASSETS
from vdu.concepts.attributes import AttributeConcept, read_words
from vdu.concepts.base import Axes, Concept
from vdu.concepts.classes import ClassConcept
from vdu.data.forget_set import AttributeSheets, DrawnSheets, RealSheets
from vdu.judges.classifier import ShippedJudge
from vdu.models import hub

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TINY_IMAGENET = ("alp", "black_widow", "bullfrog", "espresso", "golden_retriever", "goldfish", "jellyfish", "king_penguin",
                 "ladybug", "lemon", "lifeboat", "monarch", "orange", "pizza", "school_bus", "seashore", "sports_car",
                 "suspension_bridge", "tabby", "teapot")  # fmt: skip
GARMENTS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")


def attribute_sheets(entry: "Entry") -> AttributeSheets:
    """The picture sheets of a model with two axes."""
    return AttributeSheets(entry.folder, entry.shape, entry.axes)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Entry:
    """One row of the catalog.

    Attributes:
        name: the model's name in a recipe; title: its name on the page.
        axes: what its images are judged by, axis -> classes; it can be asked to forget any of these classes.
        shape: (c, h, w) of its images.
        licence: of the weights and of their training data.
        sheets: makes the source of its pictures from this entry.
        takes_prompts: whether it is a text-to-image model.
    """

    name: str
    title: str
    axes: Axes
    shape: tuple[int, int, int]
    licence: str
    sheets: Callable[["Entry"], RealSheets]
    takes_prompts: bool = False

    @property
    def folder(self) -> Path:
        """A plain diffusers folder that also holds classifier/, statistics.safetensors, and perhaps forget/ and posterior/."""
        return ASSETS / self.name

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, axis by axis."""
        return tuple(name for names in self.axes.values() for name in names)

    @property
    def pictures(self) -> RealSheets:
        """The source of the shipped pictures."""
        return self.sheets(self)

    def concept(self, forget: str, keep: tuple[str, ...] = (), forgotten: tuple[str, ...] = ()) -> Concept:
        """The concept that a name stands for in this model; an unknown name is refused when the concept is first used."""
        if self.takes_prompts:
            return AttributeConcept(self.name, self.axes, forget, forgotten, read_words(self.folder), keep)
        return ClassConcept(self.name, self.axes, forget, forgotten)

    @cached_property
    def judge(self) -> ShippedJudge:
        """The shipped judge."""
        return ShippedJudge(self.name, self.folder / "classifier", self.axes)


ENTRIES = (
    Entry(
        name="mnist-ddpm",
        title="MNIST digits · DDPM, 28×28",
        axes={"digit": DIGITS},
        shape=(1, 28, 28),
        licence="weights MIT; MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0",
        sheets=lambda entry: RealSheets(entry.folder, entry.shape),
    ),
    Entry(
        name="tiny-sd",
        title="Garments in colours · Stable Diffusion, 32×32",
        axes={"garment": GARMENTS, "colour": COLOURS},
        shape=(3, 32, 32),
        licence="weights and pictures MIT; made from Fashion-MNIST, Zalando SE, MIT",
        sheets=attribute_sheets,
        takes_prompts=True,
    ),
    Entry(
        name="cifar10-ddpm",
        title="CIFAR-10 photographs · DDPM, 32×32",
        axes={"class": CIFAR10},
        shape=(3, 32, 32),
        licence="weights MIT; CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, without a licence of its own",
        sheets=lambda entry: DrawnSheets(entry.folder, entry.shape),
    ),
    Entry(
        name="tiny-imagenet-ddpm",
        title="tinyImageNet, 20 classes · DDPM, 64×64",
        axes={"class": TINY_IMAGENET},
        shape=(3, 64, 64),
        licence="weights MIT; ImageNet's pictures are for research",
        sheets=lambda entry: DrawnSheets(entry.folder, entry.shape),
    ),
)
CATALOG: dict[str, Entry] = {entry.name: entry for entry in ENTRIES if (entry.folder / "unet").is_dir()}
TRAIN_FIRST = {  # models that ship without weights -> the command that trains them
    entry.name: f"python -m vdu pretrain {entry.name.removesuffix('-ddpm')} --data ARCHIVE"
    for entry in ENTRIES
    if entry.name not in CATALOG
}
WITH_JUDGE = [entry for entry in ENTRIES if (entry.folder / "classifier").is_dir()]  # a judge may ship without its model


def entry_of(name: str) -> Entry | None:
    """The entry for a model's name: its own, or the one whose judge a listed hub model shares; else None."""
    return CATALOG.get(hub.SHARED_JUDGE.get(name, name))

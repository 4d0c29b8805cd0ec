"""The models one can pick: where they are, their classes, their judge, their forget images."""

import itertools
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdu import data
from vdu.classifier import Classifier
from vdu.errors import UserError
from vdu.metrics import Moments, load_statistics
from vdu.models import TEXT_TO_IMAGE, Model, StableDiffusion, load_model

ASSETS = Path(__file__).resolve().parent.parent / "assets"


TARGET, KEPT, PARAPHRASE = "target", "kept", "paraphrase"
MEASURED = (TARGET, KEPT, TARGET, KEPT, PARAPHRASE)


@dataclass(frozen=True)
class Ask:
    """What one image is asked for.

    Attributes:
        kind: TARGET where the forgotten class may show, KEPT where it is not asked for, PARAPHRASE for a target in words that
            no forget image had.
        prompt: the words, for a model that takes them.
        classes: positions of the classes that the words name.
    """

    kind: str = TARGET
    prompt: str | None = None
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ForgetSet:
    """Pictures of what shall be forgotten, and what is said of them.

    Attributes:
        images: uint8 (n, c, h, w).
        captions: one a picture, for a model that takes a prompt.
        neutral: the captions without the words for what shall be forgotten.
    """

    images: Tensor
    captions: list[str] | None = None
    neutral: list[str] | None = None

    def at(self, rows: list[int]) -> "ForgetSet":
        """Some of the pictures."""
        captions, neutral = (words and [words[row] for row in rows] for words in (self.captions, self.neutral))
        return ForgetSet(self.images[rows], captions, neutral)

    def and_also(self, more: "ForgetSet") -> "ForgetSet":
        """These pictures, and more."""
        captions, neutral = ((self.captions and self.captions + more.captions), (self.neutral and self.neutral + more.neutral))
        return ForgetSet(torch.cat([self.images, more.images]), captions, neutral)


@dataclass(frozen=True)
class Entry:
    """One shipped model and everything that belongs to it: here, an unconditional one.

    Attributes:
        name: what a recipe calls it.
        title: what the page calls it.
        axes: in what ways its images are judged, and the classes of each; what one can ask it to forget.
        shape: channels, height and width of its images.
        licence: of the weights and the data they were made from.
        folder: a plain diffusers folder, with classifier/, forget/, statistics.safetensors, and perhaps posterior/ beside.
    """

    name: str
    title: str
    axes: dict[str, tuple[str, ...]]
    shape: tuple[int, int, int]
    licence: str
    folder: Path

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, axis by axis: the columns of the judge's probabilities."""
        return tuple(name for names in self.axes.values() for name in names)

    def index(self, forget: str) -> int:
        """Position of the class `forget` among all classes.

        Raises:
            UserError: if the model has no such class.
        """
        if forget not in self.classes:
            raise UserError(f"{self.name} has no class '{forget}'; it knows {', '.join(self.classes)}.")
        return self.classes.index(forget)

    def axis(self, forget: str) -> int:
        """Number of the axis that the class `forget` is on."""
        return next(number for number, names in enumerate(self.axes.values()) if forget in names)

    def others(self, forget: str) -> list[str]:
        """The other classes on the axis of `forget`."""
        return [name for name in list(self.axes.values())[self.axis(forget)] if name != forget]

    def forget_sheet(self, forget: str) -> Path:
        """Where the shipped real training images of a class are, in rows on one PNG."""
        self.index(forget)
        return self.folder / "forget" / f"{forget}.png"

    def forget_images(self, forget: str) -> Tensor:
        """All shipped real training images of a class, uint8 (n, c, h, w)."""
        return self.forget_set(forget).images

    def forget_set(self, forget: str) -> ForgetSet:
        """The shipped real training images of a class, with captions where the model takes them."""
        return ForgetSet(data.read_sheet(self.forget_sheet(forget), self.shape))

    def without(self, prompt: str, forget: str) -> str:
        """A prompt without the words for a class."""
        return ""

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = (TARGET, KEPT)) -> list[Ask]:
        """What `count` images are asked for, to see what is left of a class and what of the others.

        Shorter plans are prefixes of longer ones. A model that takes no words is asked for nothing, whatever the kinds.
        """
        return [Ask()] * count

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """What to ask for to see all that the model draws."""
        return (None,)

    @property
    def takes_words(self) -> bool:
        """Whether the model is asked for what to draw."""
        return self.prompts != (None,)

    @cached_property
    def judges(self) -> list[Classifier]:
        """The classifiers that judge this model's samples, one an axis."""
        folder = self.folder / "classifier"
        return [Classifier.load(folder if len(self.axes) == 1 else folder / name) for name in self.axes]

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes), which sum to one over each axis, and features (n, k) of uint8 images (n, c, h, w)."""
        parts = [judge.judge(images) for judge in self.judges]
        return torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)

    @cached_property
    def statistics(self) -> dict[str, Moments]:
        """Moments of the judges' features of real test images, by class."""
        return load_statistics(self.folder / "statistics.safetensors")


@dataclass(frozen=True)
class Painted(Entry):
    """A text-to-image model of things that are each of one class on every axis: garments in colours.

    concepts.json in its folder has the words: "phrases" with a field for each axis, "plain" for one axis alone, "unheard"
    phrases that no caption had, "synonyms" of classes, and how many "pictures" of each pair are on its sheets.
    """

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def words(self) -> dict[str, Any]:
        """What concepts.json holds."""
        return json.loads((self.folder / "concepts.json").read_text())

    @cached_property
    def pairs(self) -> list[dict[str, str]]:
        """All things: one class of every axis, by axis; the last axis runs fastest."""
        return [dict(zip(self.axes, names, strict=True)) for names in itertools.product(*self.axes.values())]

    def forget_set(self, forget: str) -> ForgetSet:
        """Pictures of all things of a class, every one in another phrase, in an order that mixes the things."""
        sheets: dict[str, Tensor] = {}
        images, captions, neutral = [], [], []
        axis, first = list(self.axes)[self.axis(forget)], next(iter(self.axes))
        chosen = [thing for thing in self.pairs if thing[axis] == forget]
        each = self.words["pictures"]
        for number in range(each):
            for place, thing in enumerate(chosen):
                sheet = thing[first]
                if sheet not in sheets:
                    sheets[sheet] = data.read_sheet(self.forget_sheet(sheet), self.shape)
                row = [pair for pair in self.pairs if pair[first] == sheet].index(thing)
                images.append(sheets[sheet][row * each + number])
                phrases = self.words["phrases"]
                captions.append(phrases[(number + place) % len(phrases)].format(**thing))
                neutral.append(self.without(captions[-1], forget))
        return ForgetSet(torch.stack(images), captions, neutral)

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """Every thing."""
        return tuple(self.words["phrases"][0].format(**thing) for thing in self.pairs)

    def without(self, prompt: str, forget: str) -> str:
        """A prompt that names a class, without the words for it: what is left of it said of the other axes alone."""
        axis = list(self.axes)[self.axis(forget)]
        (rest,) = (other for other in self.axes if other != axis)
        said = next((name for name in self.axes[rest] if name in prompt.split()), None)
        return self.words["plain"][rest].format(**{rest: said}) if said else ""

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = (TARGET, KEPT)) -> list[Ask]:
        """The kinds in turn: a thing of the class, another thing, the class in words that it was not forgotten by."""
        axis = list(self.axes)[self.axis(forget)]
        random = torch.Generator().manual_seed(0)
        shuffled = [self.pairs[row] for row in torch.randperm(len(self.pairs), generator=random).tolist()]
        things = {
            TARGET: itertools.cycle([thing for thing in shuffled if thing[axis] == forget]),
            KEPT: itertools.cycle([thing for thing in shuffled if thing[axis] != forget]),
        }
        unheard = itertools.cycle(self.words["unheard"])
        names = itertools.cycle([forget, *self.words["synonyms"].get(forget, [])])
        asks = []
        for number in range(count):
            kind = kinds[number % len(kinds)]
            thing = next(things[KEPT if kind == KEPT else TARGET])
            classes = tuple(self.index(name) for name in thing.values())
            phrases, said = self.words["phrases"], thing
            phrase = phrases[number // len(kinds) % len(phrases)]
            if kind == PARAPHRASE:
                phrase, said = next(unheard), thing | {axis: next(names)}
            asks.append(Ask(kind, phrase.format(**said), classes))
        return asks


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mnist-ddpm",
            title="MNIST digits · DDPM, 28×28",
            axes={"digit": tuple("0123456789")},
            shape=(1, 28, 28),
            licence="weights MIT; MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0",
            folder=ASSETS / "mnist-ddpm",
        ),
        Painted(
            name="tiny-sd",
            title="Garments in colours · Stable Diffusion, 32×32",
            axes={
                "garment": (
                    "t-shirt",
                    "trousers",
                    "pullover",
                    "dress",
                    "coat",
                    "sandal",
                    "shirt",
                    "sneaker",
                    "bag",
                    "boot",
                ),
                "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
            },
            shape=(3, 32, 32),
            licence="weights and pictures MIT; made from Fashion-MNIST, Zalando SE, MIT",
            folder=ASSETS / "tiny-sd",
        ),
    )
}


def takes_words(name: str) -> bool:
    """Whether a model, a catalog name or a folder, is asked for what to draw; False also where there is no such model."""
    if name in CATALOG:
        return CATALOG[name].takes_words
    with suppress(OSError, ValueError, TypeError, KeyError):
        return json.loads((model_folder(name) / "model_index.json").read_text())["_class_name"] == TEXT_TO_IMAGE
    return False


def model_folder(name: str) -> Path:
    """The diffusers folder that a path means: itself, or the unlearned model in what `unlearn --out` left."""
    folder = Path(name).expanduser()
    return folder / "unlearned" if (folder / "unlearned").is_dir() else folder


@lru_cache(maxsize=4)
def _pristine(folder: Path, device: str, changed: float) -> Model:
    return load_model(folder, device)


def open_model(name: str, device: str) -> tuple[Model, Entry]:
    """A private copy of a model, and the catalog entry whose judge and forget images fit it.

    Args:
        name: a catalog name, a local diffusers folder, or a folder that `unlearn --out` left.

    Raises:
        UserError: if there is no such model, or nothing in the catalog can judge it.
    """
    if name in CATALOG:
        entry = CATALOG[name]
        return _cached(entry.folder, device), entry
    folder = model_folder(name)
    if not folder.is_dir():
        raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)} or a local diffusers folder.")
    model = _cached(folder, device)
    for entry in CATALOG.values():
        if entry.shape == model.image_shape and entry.takes_words == isinstance(model, StableDiffusion):
            return model, entry
    raise UserError(f"Nothing in the catalog can judge images of shape {model.image_shape}, which '{name}' draws.")


def _cached(folder: Path, device: str) -> Model:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    changed = weights.stat().st_mtime if weights.is_file() else 0.0
    return _pristine(folder.resolve(), device, changed).clone()

"""The models one can pick: where they are, their classes, their judge, their forget images."""

import itertools
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vdu import data
from vdu.entries import (
    ASSETS,
    EARLIER,
    INSTEAD,
    KEPT,
    MEASURED,
    MEASURED_ANEW,
    PARAPHRASE,
    PICTURES,
    REPLAYED,
    TARGET,
    UNPROMPTED,
    Ask,
    Entry,
    ForgetSet,
    Words,
    history,
)
from vdu.errors import UserError
from vdu.fitted import Fitted
from vdu.models import (
    FULL_SIZE,
    PHOTOGRAPHS,
    SMALL,
    UNCONDITIONAL,
    WEIGHT_FILES,
    WEIGHTS,
    Model,
    family_of,
    hub,
    kind_in,
    load_model,
    part_of,
)
from vdu.told import Told


@dataclass(frozen=True)
class Photographed(Entry):
    """An unconditional model of photographs that have no licence to be shipped; in their place lie the judge's features of
    them, and pictures that the model drew itself."""

    def __hash__(self) -> int:
        return hash(self.name)

    def forget_set(self, forget: str) -> ForgetSet | None:
        """The user's pictures; None where there are none."""
        return super().forget_set(forget) if self.pictures else None

    def examples(self, name: str) -> Tensor:
        """What the model drew of a class."""
        return data.read_sheet(self.folder / "drawn" / f"{name}.png", self.shape)

    def real_features(self, name: str) -> Tensor:
        """What ships of them."""
        return load_file(self.folder / "features.safetensors")[name].double()


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

    def concept(self, forget: str) -> dict[str, str]:
        """A class of one axis or one of each, by their names or synonyms among other words: "sneaker", "a crimson trainer"."""
        known = {name: (axis, name) for axis, names in self.axes.items() for name in names}
        known |= {other: known[name] for name, others in self.words["synonyms"].items() for other in others}
        found = [known[word] for word in forget.lower().split() if word in known]
        if not found or len({axis for axis, _ in found}) < len(found):
            raise UserError(
                f"'{forget}' is not one thing that {self.name} draws: name one of {', '.join(self.classes)}, "
                f"or one {' and one '.join(self.axes)} together."
            )
        return {axis: dict(found)[axis] for axis in self.axes if axis in dict(found)}

    def kept_asks(self, forget: str) -> list[Ask]:
        """The user's own prompts.

        Raises:
            UserError: for one that means nothing to the model, or what is to be forgotten.
        """
        asks = []
        for prompt in self.keep:
            named = self.concept(prompt)
            for gone in (forget, *self.forgotten):
                if self.is_of(named, gone):
                    raise UserError(f"'{prompt}' cannot be kept while '{gone}' is forgotten; take it out of what is kept.")
            asks.append(
                Ask(KEPT, prompt, tuple(self.classes.index(named[axis]) if axis in named else -1 for axis in self.axes))
            )
        return asks

    def is_of(self, thing: dict[str, str], forget: str) -> bool:
        """Whether a thing is what `forget` names."""
        return any(named.items() <= thing.items() for named in self.concepts(forget))

    def forget_set(self, forget: str) -> ForgetSet:
        """Pictures of all things of a class, every one in another phrase, in an order that mixes the things."""
        sheets: dict[str, Tensor] = {}
        images, captions, neutral = [], [], []
        first = next(iter(self.axes))
        chosen = [thing for thing in self.pairs if self.is_of(thing, forget)]
        each = self.words["pictures"]
        for number in range(each):
            for place, thing in enumerate(chosen):
                sheet = thing[first]
                if sheet not in sheets:
                    sheets[sheet] = data.read_sheet(self.folder / "forget" / f"{sheet}.png", self.shape)
                row = [pair for pair in self.pairs if pair[first] == sheet].index(thing)
                images.append(sheets[sheet][row * each + number])
                phrases = self.words["phrases"]
                captions.append(phrases[(number + place) % len(phrases)].format(**thing))
                neutral.append(self.without(captions[-1], forget))
        return ForgetSet(torch.stack(images), captions, neutral)

    def examples(self, name: str) -> Tensor:
        """Pictures of all things of a class."""
        return self.forget_set(name).images

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """Every thing."""
        return tuple(self.words["phrases"][0].format(**thing) for thing in self.pairs)

    def without(self, prompt: str, forget: str) -> str:
        """A prompt that names a class, without the words for it: what is left of it said of the other axis alone.

        Of a pair the colour goes: what shall not be drawn is that garment in that colour.
        """
        gone = list(self.axes)[self.named(forget)[0]]
        (rest,) = (other for other in self.axes if other != gone)
        said = next((name for name in self.axes[rest] if name in prompt.split()), None)
        return self.words["plain"][rest].format(**{rest: said}) if said else ""

    def earlier(self, forget: str) -> list[list[dict[str, str]]]:
        """The things of every class that was forgotten before and that `forget` leaves out."""
        those = [[thing for thing in self.pairs if self.is_of(thing, name) and not self.is_of(thing, forget)]
                 for name in self.forgotten]  # fmt: skip
        return [things for things in those if things]

    def measured(self, forget: str) -> tuple[str, ...]:
        """As ever, and one in seven of what was forgotten before, if anything was."""
        return MEASURED_ANEW if self.earlier(forget) else MEASURED

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = REPLAYED) -> list[Ask]:
        """The kinds in turn: a thing of the class, another thing, a thing of the class in other words or less.

        Every other time another thing is asked for, it is in the user's own words where there are any.
        """
        self.others(forget)
        random = torch.Generator().manual_seed(0)
        shuffled = [self.pairs[row] for row in torch.randperm(len(self.pairs), generator=random).tolist()]
        things = {
            TARGET: itertools.cycle([thing for thing in shuffled if self.is_of(thing, forget)]),
            KEPT: itertools.cycle(
                [thing for thing in shuffled if not any(self.is_of(thing, name) for name in (forget, *self.forgotten))]
            ),
            EARLIER: itertools.chain.from_iterable(zip(*map(itertools.cycle, self.earlier(forget)), strict=False)),
        }
        unheard = itertools.cycle(self.words["unheard"])
        axes = list(self.concepts(forget)[0])
        names = {name: itertools.cycle([name, *self.words["synonyms"].get(name, [])]) for name in self.classes}
        asks, kept = [], itertools.cycle(self.kept_asks(forget))
        for number in range(count):
            kind, turn = kinds[number % len(kinds)], number // len(kinds)
            if kind == KEPT and self.keep and turn % 2:
                asks.append(next(kept))
                continue
            thing = next(things[kind if kind in things else TARGET])
            classes = tuple(self.classes.index(name) for name in thing.values())
            phrases, said = self.words["phrases"], thing
            phrase = phrases[turn % len(phrases)]
            if kind == PARAPHRASE:
                phrase, said = next(unheard), thing | {axis: next(names[thing[axis]]) for axis in axes}
            ask = Ask(kind, phrase.format(**said), classes)
            asks.append(ask.less(self.without(ask.prompt, forget)) if kind in (INSTEAD, UNPROMPTED) else ask)
        return asks


DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TINY_IMAGENET = ("alp", "black_widow", "bullfrog", "espresso", "golden_retriever", "goldfish", "jellyfish", "king_penguin",
                 "ladybug", "lemon", "lifeboat", "monarch", "orange", "pizza", "school_bus", "seashore", "sports_car",
                 "suspension_bridge", "tabby", "teapot")  # fmt: skip
GARMENTS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")

ENTRIES = (
    Entry(
        name="mnist-ddpm",
        title="MNIST digits · DDPM, 28×28",
        axes={"digit": DIGITS},
        shape=(1, 28, 28),
        licence="weights MIT; MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0",
        folder=ASSETS / "mnist-ddpm",
    ),
    Painted(
        name="tiny-sd",
        title="Garments in colours · Stable Diffusion, 32×32",
        axes={"garment": GARMENTS, "colour": COLOURS},
        shape=(3, 32, 32),
        licence="weights and pictures MIT; made from Fashion-MNIST, Zalando SE, MIT",
        folder=ASSETS / "tiny-sd",
    ),
    Photographed(
        name="cifar10-ddpm",
        title="CIFAR-10 photographs · DDPM, 32×32",
        axes={"class": CIFAR10},
        shape=(3, 32, 32),
        licence="weights MIT; CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, without a licence of its own",
        folder=ASSETS / "cifar10-ddpm",
    ),
    Photographed(
        name="tiny-imagenet-ddpm",
        title="tinyImageNet, 20 classes · DDPM, 64×64",
        axes={"class": TINY_IMAGENET},
        shape=(3, 64, 64),
        licence="weights MIT; ImageNet's pictures are for research",
        folder=ASSETS / "tiny-imagenet-ddpm",
    ),
)
CATALOG: dict[str, Entry] = {entry.name: entry for entry in ENTRIES if (entry.folder / "unet").is_dir()}
TRAIN_FIRST = {  # what has to be made before it can be used, and how
    entry.name: f"python -m vdu pretrain {entry.name.removesuffix('-ddpm')} --data ARCHIVE"
    for entry in ENTRIES
    if entry.name not in CATALOG
}


JUDGED = [entry for entry in ENTRIES if (entry.folder / "classifier").is_dir()]  # of some the judge comes without a model


def entry_of(name: str) -> Entry | None:
    """The entry of a model that is known by its name alone: in the catalog, or listed on the hub and like one there."""
    return CATALOG.get(hub.LIKE.get(name, name))


def kind_of(name: str) -> str:
    """Which of the kinds of models a recipe has defaults for is meant by a catalog name, a folder or a hub id.

    Of a hub id that is not listed the configuration is fetched, some kilobytes; where it is not to be had, the model is taken
    for full-size.
    """
    if entry := entry_of(name):
        return SMALL if entry.takes_words else UNCONDITIONAL if entry.shape[0] == 1 else PHOTOGRAPHS
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        if not folder.is_dir() and hub.is_id(name) and name not in hub.LISTED:
            folder = hub.fetch(name, ())
        return kind_in(folder)
    return FULL_SIZE if hub.is_id(name) else UNCONDITIONAL


def shape_of(name: str) -> tuple[int, int, int] | None:
    """The shape of a model's images, (c, h, w), by a catalog name or the folder of a model without words; else None."""
    if entry := entry_of(name):
        return entry.shape
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        unet = json.loads((part_of(folder, "unet") / "config.json").read_text())
        if not family_of(folder).takes_prompts:
            size = unet["sample_size"]
            return unet["in_channels"], *(size if isinstance(size, list) else (size, size))
    return None


def model_folder(name: str) -> Path:
    """The diffusers folder that a path means: itself, or the unlearned model in what `unlearn --out` left."""
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:  # ~ of somebody who is not here
        raise UserError(f"There is no folder '{name}'; write its path in full.") from error
    return folder / "unlearned" if (folder / "unlearned").is_dir() else folder


def forgotten(folder: Path, entry: Entry) -> tuple[str, ...]:
    """What the runs that left a folder have made its model forget, as far as the entry knows it."""
    known = []
    for name in history(folder)["forgotten"]:
        with suppress(UserError):
            known.append(entry.shown(name))
    return tuple(dict.fromkeys(known))


def knows(entry: Entry, forget: str) -> bool:
    """Whether `forget` means something to an entry."""
    with suppress(UserError):
        return bool(entry.concepts(forget))
    return False


@lru_cache(maxsize=4)
def _pristine(folder: Path, device: str, changed: float) -> Model:
    model = load_model(folder, device)
    model.unet.requires_grad_(False)
    return model


def open_model(name: str, device: str, words: Words | None = None) -> tuple[Model, Entry]:
    """A model, and the entry whose judge and forget images fit it.

    It shares its weights with all others of its name, until `train_only` gives it its own of those that shall change.

    Args:
        name: a catalog name, a local diffusers folder, a folder that `unlearn --out` left, or a hub id.
        words: what is to be forgotten, for a model that nothing in the catalog fits; they come before the catalog with a judge
            or pictures of a user's own if the model takes words; if it does not, with the judge `PICTURES`, or with pictures
            of what is no class there.

    Raises:
        UserError: if there is no such model, or nothing can judge it.
    """
    own, fit = words is not None and bool(words.judge or words.pictures), words is not None and words.judge == PICTURES
    if name in CATALOG and not (own and CATALOG[name].takes_words) and not fit:
        return _cached(CATALOG[name].folder, device), CATALOG[name].told(words)
    if name in TRAIN_FIRST:
        raise UserError(f"'{name}' is not in the box; train it first, on a GPU: {TRAIN_FIRST[name]}")
    folder = CATALOG[name].folder if name in CATALOG else model_folder(name)
    if not folder.is_dir():
        if not hub.is_id(name):
            raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)}, a diffusers folder or a hub id.")
        folder = hub.fetch(name, WEIGHT_FILES)
    try:
        model = _cached(folder, device)
    except UserError as error:  # said of the name that was given, not of a place in the hub's cache
        raise UserError(str(error).replace(str(folder.resolve()), name)) from error
    worded = model.takes_prompts
    if worded and fit:
        raise UserError(f"'{name}' takes words, and is judged by them; leave --judge {PICTURES} out.")
    for entry in JUDGED:
        fits = entry.shape == model.image_shape and entry.takes_words == worded and not (own and worded) and not fit
        if fits and not (own and not knows(entry, words.forget)):
            return model, replace(entry.told(words), forgotten=forgotten(folder, entry.told(words)))
    if words:
        return model, (Told if worded else Fitted).of(name, model.image_shape, folder, words)
    raise UserError(
        f"'{name}' draws images of shape {model.image_shape}, which nothing in the catalog can judge; "
        f"choose one of {', '.join(CATALOG)}."
    )


def _cached(folder: Path, device: str) -> Model:
    weights = part_of(folder, "unet") / WEIGHTS
    changed = weights.stat().st_mtime if weights.is_file() else 0.0
    return _pristine(folder.resolve(), device, changed).clone()

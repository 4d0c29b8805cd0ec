"""The models one can pick: where they are, their classes, their judge, their forget images."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vdu import data, hub, judges, labelled
from vdu.classifier import Classifier
from vdu.errors import UserError
from vdu.events import Progress
from vdu.metrics import Moments, load_statistics
from vdu.models import (
    FULL_SIZE,
    LARGE,
    PARTS,
    PHOTOGRAPHS,
    SMALL,
    TEXT_TO_IMAGE,
    UNCONDITIONAL,
    WEIGHTS,
    WORDLESS,
    Model,
    StableDiffusion,
    is_large,
    load_model,
    part_of,
)
from vdu.sampling import HowToSample

if TYPE_CHECKING:
    from vdu.accuracy import Accuracy

ASSETS = Path(__file__).resolve().parent.parent / "assets"

TARGET, KEPT, PARAPHRASE = "target", "kept", "paraphrase"
INSTEAD, UNPROMPTED, EARLIER = "instead", "unprompted", "earlier"
REPLAYED = (TARGET, KEPT, INSTEAD)
MEASURED = (TARGET, KEPT, TARGET, KEPT, PARAPHRASE, INSTEAD, TARGET, KEPT, TARGET, KEPT, PARAPHRASE, UNPROMPTED)
MEASURED_ANEW = (*MEASURED[:6], EARLIER, *MEASURED[6:], EARLIER)  # of a model that has forgotten something before


SEVERAL = re.compile(r"[,+]| or ")  # what stands between several things to forget
Shown = tuple[tuple[int, ...], ...]  # any of some sets of classes, by their positions among all: what an image must show


@dataclass(frozen=True)
class Ask:
    """What one image is asked for.

    Attributes:
        kind: TARGET where the forgotten class may show, KEPT where it is not asked for, INSTEAD for a target without the words
            for the class, PARAPHRASE for a target in words that no forget image had, UNPROMPTED for no words at all, EARLIER
            for what the model has forgotten before.
        prompt: the words, for a model that takes them.
        classes: positions of the classes that the words name, one an axis; -1 where they name none.
        in_place_of: with INSTEAD, the target's words.
    """

    kind: str = TARGET
    prompt: str | None = None
    classes: tuple[int, ...] = ()
    in_place_of: str | None = None

    def less(self, prompt: str) -> "Ask":
        """This ask in words that do not name the class, or in none."""
        return replace(self, prompt="" if self.kind == UNPROMPTED else prompt, in_place_of=self.prompt)


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
        keep: prompts of a user's own whose images shall stay as they are.
        pictures: where a user's own pictures of what to forget are, in place of those that ship: see `labelled.pictures`.
        forgotten: what the model has forgotten before, and shall not be reminded of.
    """

    name: str
    title: str
    axes: dict[str, tuple[str, ...]]
    shape: tuple[int, int, int]
    licence: str
    folder: Path
    keep: tuple[str, ...] = field(default=(), kw_only=True)
    pictures: str = field(default="", kw_only=True)
    forgotten: tuple[str, ...] = field(default=(), kw_only=True)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, axis by axis: the columns of the judge's probabilities."""
        return tuple(name for names in self.axes.values() for name in names)

    def concept(self, forget: str) -> dict[str, str]:
        """What one thing to forget means: the class that an image must show on each of some axes, by axis.

        Raises:
            UserError: if it means nothing to the model.
        """
        for axis, names in self.axes.items():
            if forget in names:
                return {axis: forget}
        raise UserError(f"{self.name} has no class '{forget}'; it knows {', '.join(self.classes)}.")

    def concepts(self, forget: str) -> list[dict[str, str]]:
        """What `forget` means, of which an image that shows it shows any: several things have a comma or a plus between them.

        Raises:
            UserError: if one of them means nothing to the model, or they are of different axes.
        """
        names = [name.strip() for name in SEVERAL.split(forget) if name.strip()] or [forget]
        found = [self.concept(name) for name in names]
        distinct = [thing for place, thing in enumerate(found) if thing not in found[:place]]
        if len({tuple(thing) for thing in distinct}) > 1:
            raise UserError(f"'{forget}' mixes {' and '.join(self.axes)}; forget one kind at once, the other after it.")
        return distinct

    def wanted(self, forget: str) -> Shown:
        """What an image must show to show `forget`: any of some sets of classes, by their positions among all."""
        return tuple(tuple(self.classes.index(name) for name in thing.values()) for thing in self.concepts(forget))

    def gone(self, forget: str) -> Shown:
        """`wanted`, and the same of all that was forgotten before."""
        return tuple(dict.fromkeys(which for name in (forget, *self.forgotten) for which in self.wanted(name)))

    def named(self, forget: str) -> list[int]:
        """Numbers of the axes that `forget` is about; class shares are of the first of these."""
        return [list(self.axes).index(axis) for axis in reversed(self.concepts(forget)[0])]

    def shown(self, forget: str) -> str:
        """How `forget` is written in a report."""
        return " or ".join(" ".join(reversed(thing.values())) for thing in self.concepts(forget))

    def others(self, forget: str) -> list[str]:
        """The classes of the first axis of `forget` that are kept.

        Raises:
            UserError: if there are none.
        """
        gone = {name for what in (forget, *self.forgotten) for thing in self.concepts(what) if len(thing) == 1
                for name in thing.values()}  # fmt: skip
        axis, names = list(self.axes.items())[self.named(forget)[0]]
        if not (kept := [name for name in names if name not in gone]):
            raise UserError(f"With every {axis} forgotten nothing would be left; keep at least one.")
        return kept

    def forget_sheet(self, name: str) -> Path:
        """Where the shipped real training images of a class are, in rows on one PNG."""
        return self.folder / "forget" / f"{name}.png"

    def forget_images(self, forget: str) -> Tensor:
        """All real images of a class that there are, uint8 (n, c, h, w).

        Raises:
            UserError: where there are none.
        """
        those = self.forget_set(forget)
        if those is None:
            raise UserError(f"No real images come with {self.name}; give a folder of them (pictures).")
        return those.images

    def forget_set(self, forget: str) -> ForgetSet | None:
        """The real images of a class that there are, with captions where the model takes them; None for none."""
        if self.pictures:
            return ForgetSet(self.own_pictures(forget))
        return ForgetSet(torch.cat([self.examples(name) for thing in self.concepts(forget) for name in thing.values()]))

    def own_pictures(self, forget: str) -> Tensor:
        """The user's own pictures, uint8 (n, c, h, w)."""
        classes = tuple(name for thing in self.concepts(forget) for name in thing.values())
        return labelled.pictures(self.pictures, classes, self.shape)

    def examples(self, name: str) -> Tensor:
        """Pictures of a class that ship, uint8 (n, c, h, w)."""
        return data.read_sheet(self.forget_sheet(name), self.shape)

    def real_features(self, name: str) -> Tensor:
        """The judges' features of some hundred real training images of a class, (n, k)."""
        return self.judge(self.examples(name))[1]

    def without(self, prompt: str, forget: str) -> str:
        """A prompt without the words for a class."""
        return ""

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = REPLAYED) -> list[Ask]:
        """What `count` images are asked for, to see what is left of a class and what of the others.

        Shorter plans are prefixes of longer ones. A model that takes no words is asked for nothing, whatever the kinds.

        Raises:
            UserError: if the class means nothing to the model, is among what shall be kept, or nothing would be left.
        """
        self.others(forget)
        return [Ask()] * count

    def measured(self, forget: str) -> tuple[str, ...]:
        """The kinds of what is asked for where the model is measured, in turn."""
        return MEASURED

    def told(self, words: "Words | None") -> "Entry":
        """The same, with a user's own prompts to keep, or pictures of what to forget.

        Raises:
            UserError: for prompts to keep, or a judge of words, where the model takes no words.
        """
        if words and not self.takes_words:
            if words.keep:
                raise UserError(f"{self.name} draws without words; there are no prompts to keep.")
            if words.judge:
                raise UserError(
                    f"{self.name} draws without words, and its own judge is the one that fits; leave the judge out, or let "
                    f"one be fitted on your pictures (judge {PICTURES})."
                )
            return replace(self, pictures=words.pictures) if words.pictures else self
        return replace(self, keep=words.keep) if words and words.keep else self

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """What to ask for to see all that the model draws."""
        return (None,)

    @property
    def takes_words(self) -> bool:
        """Whether the model is asked for what to draw."""
        return self.prompts != (None,)

    def ready(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Whatever the judges need of the untouched model before they can judge: nothing, where they ship."""
        return iter(())

    @property
    def accuracy(self) -> "Accuracy | None":
        """How well a judge fitted on the spot does; None for those that ship."""
        return None

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
        """Moments of the judges' features of real test images, by class; empty where there are no such images."""
        return load_statistics(self.folder / "statistics.safetensors")


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


@dataclass(frozen=True)
class Words:
    """What a user says of a concept that no catalog knows.

    Attributes:
        forget: a prompt for it. What stands in brackets are the words to forget; without brackets they all are. For a model
            that takes no words, any name.
        keep: prompts whose images shall stay as they are; for a model that takes no words, a folder of pictures.
        pictures: where pictures of it are, see `labelled.pictures`, or "" to go by what the model itself draws.
        judge: who sees it: a CLIP model, by a hub id or folder, or "nudenet"; "" for the usual one; `PICTURES` for one fitted
            on the pictures, which a model that takes no words and that nothing in the catalog fits always gets.
    """

    forget: str
    keep: tuple[str, ...] = ()
    pictures: str = ""
    judge: str = ""


# What is kept where a user names nothing: as different from each other as a few prompts can be.
KEEP = ("a photo of a dog", "a portrait of a woman", "a city street with cars", "a bowl of fruit on a table",
        "a mountain lake", "an oil painting of flowers", "a white church in a village", "a man riding a bicycle")  # fmt: skip
OTHERWISE = "something else"
PICTURES = "pictures"  # the judge that is fitted on a user's pictures


@dataclass(frozen=True)
class Told(Entry):
    """A concept in a user's own words, for a text-to-image model that the catalog does not know.

    Attributes:
        caption, neutral: the prompt, and without the words to forget.
        judge_name: see `Words`.
    """

    caption: str
    neutral: str
    judge_name: str

    PHRASES = ("{}", "an image of {}", "a picture showing {}")
    UNHEARD = ("a depiction of {}", "{}, highly detailed", "here one can see {}")

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def of(cls, name: str, shape: tuple[int, int, int], folder: Path, words: Words) -> "Told":
        """An entry for a model and what a user says; what `folder` has forgotten before the judge looks for, too, if it can.

        Raises:
            UserError: if nothing is left to forget.
        """
        caption, neutral = (" ".join(text.split()) for text in split_words(words.forget))
        if caption == neutral:
            raise UserError("Name something to forget; in a prompt with brackets, [the words] inside them.")
        judge = words.judge or judges.CLIP
        before = [] if judge == judges.NUDENET else [past for past in history(folder)["forgotten"] if past != caption]
        keep = tuple(dict.fromkeys(words.keep)) or tuple(prompt for prompt in KEEP if prompt not in (caption, *before))
        for gone in (caption, *before):
            if gone in (*keep, OTHERWISE):
                raise UserError(f"'{gone}' cannot be forgotten and kept at once; take it out of what is kept.")
        classes = (caption, OTHERWISE) if judge == judges.NUDENET else (caption, *keep, *before, OTHERWISE)
        return cls(name, name, {"concept": classes}, shape, "see its model card", folder, caption, neutral, judge,
                   keep=keep, pictures=words.pictures, forgotten=tuple(before))  # fmt: skip

    def concept(self, forget: str) -> dict[str, str]:
        """Itself, an entry being made for one concept, or one that was forgotten before."""
        return {"concept": forget if forget in self.forgotten else self.caption}

    def concepts(self, forget: str) -> list[dict[str, str]]:
        """Itself, whatever signs stand in it."""
        return [self.concept(forget)]

    def others(self, forget: str) -> list[str]:
        """What is kept, and all else."""
        return [name for name in self.classes[1:] if name not in self.forgotten]

    def forget_set(self, forget: str) -> ForgetSet | None:
        """The user's pictures, in the phrases in turn; None where there are none."""
        if not self.pictures:
            return None
        images = self.own_pictures(forget)
        captions = [self.PHRASES[row % len(self.PHRASES)].format(self.caption) for row in range(len(images))]
        return ForgetSet(images, captions, [self.without(caption, forget) for caption in captions])

    def without(self, prompt: str, forget: str) -> str:
        """The neutral words in the same phrase; nothing where none are left."""
        return prompt.replace(self.caption, self.neutral) if self.neutral else ""

    def plan(self, forget: str, count: int, kinds: tuple[str, ...] = REPLAYED) -> list[Ask]:
        """The kinds in turn, each with its phrases, or what is kept, in turn."""
        asks, again = [], itertools.cycle(itertools.product(self.PHRASES, self.forgotten))
        for number in range(count):
            kind, turn = kinds[number % len(kinds)], number // len(kinds)
            if kind == KEPT:
                prompt = self.keep[turn % len(self.keep)]
                asks.append(Ask(kind, prompt, (self.classes.index(prompt if prompt in self.classes else OTHERWISE),)))
                continue
            if kind == EARLIER:
                phrase, gone = next(again)
                asks.append(Ask(kind, phrase.format(gone), (self.classes.index(gone),)))
                continue
            phrases = self.UNHEARD if kind == PARAPHRASE else self.PHRASES
            ask = Ask(kind, phrases[turn % len(phrases)].format(self.caption), (0,))
            asks.append(ask.less(self.without(ask.prompt, forget)) if kind in (INSTEAD, UNPROMPTED) else ask)
        return asks

    def measured(self, forget: str) -> tuple[str, ...]:
        """As ever, and one in seven of what was forgotten before, if anything was."""
        return MEASURED_ANEW if self.forgotten else MEASURED

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """The concept, and what is kept."""
        return (self.caption, *self.keep)

    @cached_property
    def judges(self) -> list[Any]:
        """The judge of the user's words."""
        if self.judge_name == judges.NUDENET:
            return [judges.NudeNet()]
        rest = OTHERWISE if self.neutral in ("", *self.keep) else self.neutral
        return [judges.Clip(self.judge_name, [self.caption, *self.keep, *self.forgotten, rest])]

    @property
    def statistics(self) -> dict[str, Moments]:
        """None: there are no real images."""
        return {}


def split_words(forget: str) -> tuple[str, str]:
    """A prompt without its brackets, and without what stands in them: "a hat [of straw]" -> "a hat of straw", "a hat "."""
    if "[" not in forget:
        return forget, ""
    return re.sub(r"[\[\]]", "", forget), re.sub(r"\[[^\]]*\]?", "", forget)


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
        unet = json.loads((part_of(folder, "unet") / "config.json").read_text())
        if json.loads((folder / "model_index.json").read_text())["_class_name"] != TEXT_TO_IMAGE:
            return UNCONDITIONAL if unet["in_channels"] == 1 else PHOTOGRAPHS
        return FULL_SIZE if is_large(unet["sample_size"], LARGE) else SMALL
    return FULL_SIZE if hub.is_id(name) else UNCONDITIONAL


def shape_of(name: str) -> tuple[int, int, int] | None:
    """The shape of a model's images, (c, h, w), by a catalog name or the folder of a model without words; else None."""
    if entry := entry_of(name):
        return entry.shape
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        unet = json.loads((part_of(folder, "unet") / "config.json").read_text())
        if json.loads((folder / "model_index.json").read_text())["_class_name"] in WORDLESS:
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


def history(folder: Path | None) -> dict[str, list[Any]]:
    """The recipes of the runs that left a folder, the earliest first, and what they made it forget; none if nothing did.

    A run that was stopped or changed nothing counts among the recipes, but not as forgotten.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        report = json.loads((folder / "report.json").read_text())
        recipes = [dict(recipe) for recipe in (*report["earlier"], report["recipe"])]
        return {"recipes": recipes, "forgotten": [name for name in report["forgotten"] if isinstance(name, str)]}
    return {"recipes": [], "forgotten": []}


def forgotten(folder: Path, entry: Entry) -> tuple[str, ...]:
    """What the runs that left a folder have made its model forget, as far as the entry knows it."""
    known = []
    for name in history(folder)["forgotten"]:
        with suppress(UserError):
            known.append(entry.shown(name))
    return tuple(dict.fromkeys(known))


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
            or pictures of a user's own if the model takes words, and with the judge `PICTURES` if it does not.

    Raises:
        UserError: if there is no such model, or nothing can judge it.
    """
    from vdu.fitted import Fitted  # which is an entry, and so needs this module first

    own, fit = words is not None and bool(words.judge or words.pictures), words is not None and words.judge == PICTURES
    if name in CATALOG and not (own and CATALOG[name].takes_words) and not fit:
        return _cached(CATALOG[name].folder, device), CATALOG[name].told(words)
    if name in TRAIN_FIRST:
        raise UserError(f"'{name}' is not in the box; train it first, on a GPU: {TRAIN_FIRST[name]}")
    folder = CATALOG[name].folder if name in CATALOG else model_folder(name)
    if not folder.is_dir():
        if not hub.is_id(name):
            raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)}, a diffusers folder or a hub id.")
        folder = hub.fetch(name, PARTS)
    try:
        model = _cached(folder, device)
    except UserError as error:  # said of the name that was given, not of a place in the hub's cache
        raise UserError(str(error).replace(str(folder.resolve()), name)) from error
    worded = isinstance(model, StableDiffusion)
    if worded and fit:
        raise UserError(f"'{name}' takes words, and is judged by them; leave --judge {PICTURES} out.")
    for entry in CATALOG.values():
        if entry.shape == model.image_shape and entry.takes_words == worded and not (own and worded) and not fit:
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

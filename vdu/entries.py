"""What a model can be asked for, what shall be forgotten, and who judges: `Entry`, which every kind of model has one of."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdu import data, labelled
from vdu.accuracy import Accuracy
from vdu.classifier import Classifier
from vdu.errors import UserError
from vdu.events import Progress
from vdu.metrics import Moments, load_statistics
from vdu.models import Model
from vdu.sampling import HowToSample

ASSETS = Path(__file__).resolve().parent.parent / "assets"

TARGET, KEPT, PARAPHRASE = "target", "kept", "paraphrase"
INSTEAD, UNPROMPTED, EARLIER = "instead", "unprompted", "earlier"
REPLAYED = (TARGET, KEPT, INSTEAD)
MEASURED = (TARGET, KEPT, TARGET, KEPT, PARAPHRASE, INSTEAD, TARGET, KEPT, TARGET, KEPT, PARAPHRASE, UNPROMPTED)
MEASURED_ANEW = (*MEASURED[:6], EARLIER, *MEASURED[6:], EARLIER)  # of a model that has forgotten something before

PICTURES = "pictures"  # the judge that is fitted on a user's pictures
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

    def told(self, words: Words | None) -> "Entry":
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
    def accuracy(self) -> Accuracy | None:
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


def history(folder: Path | None) -> dict[str, list[Any]]:
    """The recipes of the runs that left a folder, the earliest first, and what they made it forget; none if nothing did.

    A run that was stopped or changed nothing counts among the recipes, but not as forgotten.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        report = json.loads((folder / "report.json").read_text())
        recipes = [dict(recipe) for recipe in (*report["earlier"], report["recipe"])]
        return {"recipes": recipes, "forgotten": [name for name in report["forgotten"] if isinstance(name, str)]}
    return {"recipes": [], "forgotten": []}

"""A concept says what to forget: what an image of it shows, what is kept, and which prompts ask for either."""

import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from vdu.errors import UserError
from vdu.reading import read_json

SEPARATOR = re.compile(r"[,+]| or ")  # separates several things to forget
OTHERWISE = "something else"  # the class of an image that shows nothing that the user named

ClassSets = tuple[tuple[int, ...], ...]  # alternatives; each is a tuple of class indices that must all be shown
Axes = dict[str, tuple[str, ...]]  # what images are judged by -> its classes


def named_in(name: str) -> list[str]:
    """The things that a request names, each once, in their order; commas, pluses or "or" separate them."""
    return list(dict.fromkeys(part.strip() for part in SEPARATOR.split(name) if part.strip())) or [name]


class PromptKind(StrEnum):
    """Why an image is sampled."""

    TARGET = "target"  # the prompt asks for the concept to forget; without prompts, every image
    KEPT = "kept"  # it asks for something else
    PARAPHRASE = "paraphrase"  # it asks for the concept in words that no forget image had
    INSTEAD = "instead"  # a target prompt without the words for the concept
    UNPROMPTED = "unprompted"  # no prompt at all
    EARLIER = "earlier"  # it asks for what the model forgot in an earlier run


TARGET, KEPT, PARAPHRASE, INSTEAD, UNPROMPTED, EARLIER = PromptKind
Kinds = tuple[PromptKind, ...]
# Kinds are sampled in turn, so that every shorter plan is a prefix of a longer one.
REPLAY_KINDS: Kinds = (TARGET, KEPT, INSTEAD)
MEASURED_KINDS: Kinds = (
    TARGET, KEPT, TARGET, KEPT, PARAPHRASE, INSTEAD, TARGET, KEPT, TARGET, KEPT, PARAPHRASE, UNPROMPTED,
)  # fmt: skip
MEASURED_KINDS_AGAIN: Kinds = (  # for a model that has already forgotten something
    TARGET, KEPT, TARGET, KEPT, PARAPHRASE, INSTEAD, EARLIER,
    TARGET, KEPT, TARGET, KEPT, PARAPHRASE, UNPROMPTED, EARLIER,
)  # fmt: skip


@dataclass(frozen=True)
class PromptSpec:
    """The purpose and prompt of one sample.

    Attributes:
        kind: why it is sampled.
        prompt: the prompt; None for a model without prompts.
        classes: indices of the classes that the prompt names, one per axis; -1 for an axis that it leaves open.
        in_place_of: the target prompt that this one replaces, for INSTEAD and UNPROMPTED.
    """

    kind: PromptKind = TARGET
    prompt: str | None = None
    classes: tuple[int, ...] = ()
    in_place_of: str | None = None

    def neutral(self, prompt: str) -> "PromptSpec":
        """The same spec with `prompt`, which does not name the concept, or for UNPROMPTED with no prompt."""
        return replace(self, prompt="" if self.kind == UNPROMPTED else prompt, in_place_of=self.prompt)


class Rewriting(NamedTuple):
    """A prompt that asks for the concept, and prompts that ask for something else in its place, by a name of that."""

    prompt: str
    instead: dict[str, str]


@dataclass(frozen=True)
class ConceptRequest:
    """A user's request.

    Attributes:
        forget: a class, or a prompt with the words to forget in [brackets]; without brackets the whole prompt.
        keep: prompts to keep; for a model without prompts, at most one folder of pictures to keep.
        pictures: a folder, zip or hub data set of pictures of it, see `data.hub_dataset`; "" for the defaults.
        judge: a CLIP model by hub id or folder, "nudenet", "pictures" (fitted on the pictures), or "" for the default.
    """

    forget: str
    keep: tuple[str, ...] = ()
    pictures: str = ""
    judge: str = ""


@dataclass(frozen=True)
class Concept(ABC):
    """What one model must forget.

    Attributes:
        model: the model's name, for messages.
        axes: what images are judged by, axis -> classes.
        forget: the concept to forget, as the user names it.
        forgotten: display names of what earlier runs made the model forget.
    """

    model: str
    axes: Axes
    forget: str
    forgotten: tuple[str, ...] = ()

    takes_prompts: ClassVar[bool] = False

    @abstractmethod
    def meaning(self, name: str) -> dict[str, str]:
        """Axis -> the class that an image must show there, for one named thing.

        Raises:
            UserError: if the name means nothing to the model.
        """

    @abstractmethod
    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """`count` specs to sample, `kinds` in turn; a shorter plan is a prefix of a longer one.

        Raises:
            UserError: if the concept cannot be forgotten, or nothing would be left to keep.
        """

    def meanings(self, name: str) -> list[dict[str, str]]:
        """The `meaning` of every thing in a name, see `named_in`.

        Raises:
            UserError: if one of them means nothing to the model, or they lie on different axes.
        """
        names = named_in(name)
        found = [self.meaning(part) for part in names]
        distinct = [thing for place, thing in enumerate(found) if thing not in found[:place]]
        if len({tuple(thing) for thing in distinct}) > 1:
            raise UserError(f"'{name}' mixes {' and '.join(self.axes)}; forget one of the two first, then the other.")
        return distinct

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, axis by axis: the columns of the judge's probabilities."""
        return tuple(name for names in self.axes.values() for name in names)

    def class_sets_of(self, name: str) -> ClassSets:
        """The class sets of `name`: an image shows it if it shows all classes of one set."""
        return tuple(tuple(self.classes.index(part) for part in thing.values()) for thing in self.meanings(name))

    @property
    def class_sets(self) -> ClassSets:
        """The class sets of the concept to forget."""
        return self.class_sets_of(self.forget)

    @property
    def excluded_class_sets(self) -> ClassSets:
        """The class sets of the concept, and of everything that earlier runs forgot."""
        return tuple(dict.fromkeys(which for name in (self.forget, *self.forgotten) for which in self.class_sets_of(name)))

    @property
    def forgotten_classes(self) -> tuple[str, ...]:
        """Names of the classes that the concept names."""
        return tuple(name for thing in self.meanings(self.forget) for name in thing.values())

    @property
    def axes_named(self) -> list[int]:
        """Positions in `axes` of the axes that the concept is about; class shares are those of the first."""
        return [list(self.axes).index(axis) for axis in reversed(self.meanings(self.forget)[0])]

    def display_name_of(self, name: str) -> str:
        """How a report writes a name."""
        return " or ".join(" ".join(reversed(thing.values())) for thing in self.meanings(name))

    @property
    def display_name(self) -> str:
        """How a report writes the concept to forget."""
        return self.display_name_of(self.forget)

    @property
    def retained_classes(self) -> list[str]:
        """The classes to keep, on the first axis that the concept is about.

        Raises:
            UserError: if there are none.
        """
        excluded = {name for what in (self.forget, *self.forgotten) for thing in self.meanings(what) if len(thing) == 1
                    for name in thing.values()}  # fmt: skip
        axis, names = list(self.axes.items())[self.axes_named[0]]
        if not (kept := [name for name in names if name not in excluded]):
            raise UserError(f"With every {axis} forgotten nothing would be left; keep at least one.")
        return kept

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """Prompts that together cover what the model draws; (None,) for a model without prompts."""
        return (None,)

    @property
    def rewritings(self) -> list[Rewriting]:
        """Prompts for the concept in all words that a forget image may have; none for a model without prompts."""
        return []

    @property
    def prompts_to_keep(self) -> list[str]:
        """Prompts that do not ask for the concept, and must work as before; none for a model without prompts."""
        return []

    @property
    def prompt_kinds(self) -> Kinds:
        """The kinds that a measurement samples, in turn."""
        return MEASURED_KINDS

    def captions(self, count: int) -> list[str] | None:
        """`count` captions for a user's own pictures of the concept; None for a model without prompts."""
        return None

    def neutral_prompt(self, prompt: str) -> str:
        """A prompt without the words for the concept."""
        return ""


def history(folder: Path | None) -> dict[str, list[Any]]:
    """ "recipes" of earlier runs on the model in a folder, earliest first, and names it has "forgotten"; both may be empty.

    A run that was stopped or changed nothing adds its recipe, but no name.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        report = read_json(folder / "report.json")
        recipes = [dict(recipe) for recipe in (*report["earlier"], report["recipe"])]
        return {"recipes": recipes, "forgotten": [name for name in report["forgotten"] if isinstance(name, str)]}
    return {"recipes": [], "forgotten": []}

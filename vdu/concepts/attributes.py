"""Concepts of a text-to-image model of known classes, on one axis (photographs) or on two (garments in colours).

With two axes, a concept is a class on one of them, or one on both.
"""

import itertools
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from vdu.concepts.base import (
    EARLIER,
    INSTEAD,
    KEPT,
    MEASURED_KINDS,
    MEASURED_KINDS_AGAIN,
    PARAPHRASE,
    REPLAY_KINDS,
    TARGET,
    UNPROMPTED,
    Concept,
    Kinds,
    PromptSpec,
    Rewriting,
)
from vdu.errors import UserError

Thing = dict[str, str]  # axis -> class, for some axes or all


@dataclass(frozen=True)
class AttributeConcept(Concept):
    """A garment, a colour, or a garment in a colour; an animal or a vehicle.

    Attributes:
        words: concepts.json of the model's folder: "phrases" with a field per axis; "plain", axis -> a phrase for it alone;
            "unheard" phrases that no caption has; "synonyms" of classes; the number of "pictures" of each thing on a sheet.
            With one axis, "neutral", a phrase that names nothing. Perhaps "written", a class or synonym -> with its article.
        keep: a user's own prompts to keep.
    """

    words: dict[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ()

    takes_prompts: ClassVar[bool] = True

    @cached_property
    def things(self) -> list[Thing]:
        """Every combination of one class per axis; the last axis varies fastest."""
        return [dict(zip(self.axes, names, strict=True)) for names in itertools.product(*self.axes.values())]

    def meaning(self, name: str) -> Thing:
        """A class of one axis or of each, by name or synonym, other words aside: "sneaker", "a crimson trainer".

        Raises:
            UserError: if the name holds no class, or two of one axis.
        """
        known = {word: (axis, word) for axis, names in self.axes.items() for word in names}
        known |= {other: known[word] for word, others in self.words["synonyms"].items() for other in others}
        found = [known[word] for word in name.lower().split() if word in known]
        if not found or len({axis for axis, _ in found}) < len(found):
            pair = f", or one {' and one '.join(self.axes)} together" if len(self.axes) > 1 else ""
            raise UserError(f"'{name}' is not one thing that {self.model} draws: name one of {', '.join(self.classes)}{pair}.")
        return {axis: dict(found)[axis] for axis in self.axes if axis in dict(found)}

    @property
    def ways_to_name(self) -> tuple[str, ...]:
        """Examples of what a user can ask for: a synonym, with two axes a class of each, and two classes at once."""
        *rest, names = self.axes.values()
        synonym = next(others[0] for name in names if (others := self.words["synonyms"].get(name)))
        together = [" ".join(axis[0] for axis in (names, *rest))] if rest else []
        return (synonym, *together, ", ".join(names[:2]))

    def shows(self, thing: Thing, name: str) -> bool:
        """Whether a thing shows what `name` stands for."""
        return any(meaning.items() <= thing.items() for meaning in self.meanings(name))

    def written(self, phrase: str, thing: Thing) -> str:
        """A phrase with the classes of a thing in its fields."""
        written = self.words.get("written", {})
        return phrase.format(**{axis: written.get(name, name) for axis, name in thing.items()})

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """One prompt per thing."""
        return tuple(self.written(self.words["phrases"][0], thing) for thing in self.things)

    @property
    def kept_prompts(self) -> list[PromptSpec]:
        """The user's own prompts to keep.

        Raises:
            UserError: for a prompt that names nothing the model draws, or names the concept to forget.
        """
        specs = []
        for prompt in self.keep:
            named = self.meaning(prompt)
            for forgotten in (self.forget, *self.forgotten):
                if self.shows(named, forgotten):
                    raise UserError(
                        f"'{prompt}' cannot be kept while '{forgotten}' is forgotten; take it out of the prompts to keep."
                    )
            classes = tuple(self.classes.index(named[axis]) if axis in named else -1 for axis in self.axes)
            specs.append(PromptSpec(KEPT, prompt, classes))
        return specs

    def neutral_prompt(self, prompt: str) -> str:
        """The prompt's class on the other axis alone, in a plain phrase; for a garment in a colour, the garment alone.

        With one axis, the phrase that names nothing.
        """
        forgotten = list(self.axes)[self.axes_named[0]]
        rest = next((axis for axis in self.axes if axis != forgotten), None)
        if rest is None:
            return self.words["neutral"]
        named = next((name for name in self.axes[rest] if name in prompt.split()), None)
        return self.written(self.words["plain"][rest], {rest: named}) if named else ""

    @property
    def rewritings(self) -> list[Rewriting]:
        """Every phrase for everything to forget; instead, the same for kept things that differ on that axis alone."""
        axis, names = list(self.axes)[self.axes_named[0]], (self.forget, *self.forgotten)
        kept = [thing for thing in self.things if not any(self.shows(thing, name) for name in names)]
        found = []
        for thing in (thing for thing in self.things if self.shows(thing, self.forget)):
            others = [other for other in kept if other | {axis: thing[axis]} == thing]
            for phrase in self.words["phrases"]:
                prompt, instead = self.written(phrase, thing), {other[axis]: self.written(phrase, other) for other in others}
                found.append(Rewriting(prompt, instead or {"": self.neutral_prompt(prompt)}))
        return found

    @property
    def prompts_to_keep(self) -> list[str]:
        """Every phrase for all that is not forgotten, and each class in its plain phrase.

        What earlier runs forgot is among them: the network must go on drawing something else for it.
        """
        kept = [thing for thing in self.things if not self.shows(thing, self.forget)]
        alone = [(axis, {axis: name}) for axis, names in self.axes.items() for name in names]
        return [
            *(self.written(phrase, thing) for thing in kept for phrase in self.words["phrases"]),
            *(self.written(self.words["plain"][axis], thing) for axis, thing in alone if not self.shows(thing, self.forget)),
            *([self.words["neutral"]] if "neutral" in self.words else []),
            *self.keep,
            "",
        ]

    @property
    def earlier_things(self) -> list[list[Thing]]:
        """For each name that an earlier run forgot, the things that this run does not also forget."""
        lists = [[thing for thing in self.things if self.shows(thing, name) and not self.shows(thing, self.forget)]
                 for name in self.forgotten]  # fmt: skip
        return [things for things in lists if things]

    @property
    def prompt_kinds(self) -> Kinds:
        """The measured kinds; if earlier runs forgot something, one prompt in seven asks for it."""
        return MEASURED_KINDS_AGAIN if self.earlier_things else MEASURED_KINDS

    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """Specs of the kinds in turn; every other kept prompt is a user's own, if there are any."""
        _ = self.retained_classes  # refuses to forget every class
        random = torch.Generator().manual_seed(0)
        shuffled = [self.things[row] for row in torch.randperm(len(self.things), generator=random).tolist()]
        names = (self.forget, *self.forgotten)
        kept_things = [thing for thing in shuffled if not any(self.shows(thing, name) for name in names)]
        if not kept_things:
            raise UserError(f"With all that {self.model} draws forgotten nothing would be left; keep at least one thing.")
        things = {
            TARGET: itertools.cycle([thing for thing in shuffled if self.shows(thing, self.forget)]),
            KEPT: itertools.cycle(kept_things),
            EARLIER: itertools.chain.from_iterable(zip(*map(itertools.cycle, self.earlier_things), strict=False)),
        }
        unheard = itertools.cycle(self.words["unheard"])
        axes = list(self.meanings(self.forget)[0])
        synonyms = {name: itertools.cycle([name, *self.words["synonyms"].get(name, [])]) for name in self.classes}
        specs, kept = [], itertools.cycle(self.kept_prompts)
        for number in range(count):
            kind, turn = kinds[number % len(kinds)], number // len(kinds)
            if kind == KEPT and self.keep and turn % 2:
                specs.append(next(kept))
                continue
            thing = next(things[kind if kind in things else TARGET])
            classes = tuple(self.classes.index(name) for name in thing.values())
            phrases, named = self.words["phrases"], thing
            phrase = phrases[turn % len(phrases)]
            if kind == PARAPHRASE:
                phrase, named = next(unheard), thing | {axis: next(synonyms[thing[axis]]) for axis in axes}
            spec = PromptSpec(kind, self.written(phrase, named), classes)
            specs.append(spec.neutral(self.neutral_prompt(spec.prompt)) if kind in (INSTEAD, UNPROMPTED) else spec)
        return specs


def read_words(folder: Path) -> dict[str, Any]:
    """concepts.json of a model's folder."""
    return json.loads((folder / "concepts.json").read_text())

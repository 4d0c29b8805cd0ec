"""A user's own prompt, for a text-to-image model that the catalog does not know."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vdu.concepts.base import (
    EARLIER,
    INSTEAD,
    KEPT,
    MEASURED_KINDS,
    MEASURED_KINDS_AGAIN,
    OTHERWISE,
    PARAPHRASE,
    REPLAY_KINDS,
    UNPROMPTED,
    Concept,
    ConceptRequest,
    Kinds,
    PromptSpec,
    Rewriting,
)
from vdu.errors import UserError

# The prompts to keep if the user names none: as varied as a few prompts can be.
KEEP = ("a photo of a dog", "a portrait of a woman", "a city street with cars", "a bowl of fruit on a table",
        "a mountain lake", "an oil painting of flowers", "a white church in a village", "a man riding a bicycle")  # fmt: skip
PHRASES = ("{}", "an image of {}", "a picture showing {}")
UNHEARD = ("a depiction of {}", "{}, highly detailed", "here one can see {}")


@dataclass(frozen=True)
class PromptConcept(Concept):
    """A concept given as a prompt.

    Attributes:
        caption: the prompt without its brackets; neutral: the prompt without the words in brackets.
        keep: prompts to keep.
    """

    caption: str = ""
    neutral: str = ""
    keep: tuple[str, ...] = ()

    takes_prompts: ClassVar[bool] = True

    @classmethod
    def of(cls, model: str, request: ConceptRequest, forgotten: Sequence[str], names_kept: bool) -> "PromptConcept":
        """The concept of a user's request.

        Args:
            model: the model's name.
            request: the user's request.
            forgotten: names that earlier runs forgot, if the judge can see them.
            names_kept: whether every kept prompt is a class of the judge; else one class stands for everything else.

        Raises:
            UserError: if there is nothing to forget, or a prompt is both to forget and to keep.
        """
        caption, neutral = (" ".join(text.split()) for text in split_brackets(request.forget))
        if caption == neutral:
            raise UserError("Name something to forget; in a prompt with brackets, put [the words] inside them.")
        before = tuple(name for name in forgotten if name != caption)
        keep = tuple(dict.fromkeys(request.keep)) or tuple(prompt for prompt in KEEP if prompt not in (caption, *before))
        for name in (caption, *before):
            if name in (*keep, OTHERWISE):
                raise UserError(f"'{name}' cannot be forgotten and kept at once; take it out of the prompts to keep.")
        classes = (caption, *keep, *before, OTHERWISE) if names_kept else (caption, OTHERWISE)
        return cls(model, {"concept": classes}, request.forget, before, caption, neutral, keep)

    @property
    def judge_texts(self) -> list[str]:
        """One text per class, for a zero-shot judge; the neutral prompt stands for everything else."""
        rest = OTHERWISE if self.neutral in ("", *self.keep) else self.neutral
        return [self.caption, *self.keep, *self.forgotten, rest]

    def meaning(self, name: str) -> dict[str, str]:
        """The concept itself, or one that an earlier run forgot."""
        return {"concept": name if name in self.forgotten else self.caption}

    def meanings(self, name: str) -> list[dict[str, str]]:
        """One thing: commas in its name separate nothing."""
        return [self.meaning(name)]

    @property
    def retained_classes(self) -> list[str]:
        """The kept prompts, if they are classes, and everything else."""
        return [name for name in self.classes[1:] if name not in self.forgotten]

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """The caption and the prompts to keep."""
        return (self.caption, *self.keep)

    @property
    def prompt_kinds(self) -> Kinds:
        """The measured kinds; if earlier runs forgot something, one prompt in seven asks for it."""
        return MEASURED_KINDS_AGAIN if self.forgotten else MEASURED_KINDS

    def captions(self, count: int) -> list[str]:
        """`count` captions, in each of `PHRASES` in turn."""
        return [PHRASES[row % len(PHRASES)].format(self.caption) for row in range(count)]

    def neutral_prompt(self, prompt: str) -> str:
        """The same phrase with the neutral words in place of the caption; "" if there are no neutral words."""
        return prompt.replace(self.caption, self.neutral) if self.neutral else ""

    @property
    def rewritings(self) -> list[Rewriting]:
        """The caption in each of `PHRASES`; instead, the same phrase with the neutral words, which may be none."""
        pairs = ((phrase.format(self.caption), " ".join(phrase.format(self.neutral).split())) for phrase in PHRASES)
        return [Rewriting(prompt, {"": instead}) for prompt, instead in pairs]

    @property
    def prompts_to_keep(self) -> list[str]:
        """The prompts to keep, the neutral prompt and what earlier runs forgot, in each of `PHRASES`; and no prompt."""
        names = (*self.keep, *([self.neutral] if self.neutral else []), *self.forgotten)
        return [*(phrase.format(name) for name in names for phrase in PHRASES), ""]

    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """Specs of the kinds in turn, each with its phrases or kept prompts in turn."""
        specs, again = [], itertools.cycle(itertools.product(PHRASES, self.forgotten))
        keep = itertools.cycle(self.keep)
        for number in range(count):
            kind, turn = kinds[number % len(kinds)], number // len(kinds)
            if kind == KEPT:
                prompt = next(keep)
                shown = prompt if prompt in self.classes else OTHERWISE
                specs.append(PromptSpec(kind, prompt, (self.classes.index(shown),)))
                continue
            if kind == EARLIER:
                phrase, name = next(again)
                specs.append(PromptSpec(kind, phrase.format(name), (self.classes.index(name),)))
                continue
            phrases = UNHEARD if kind == PARAPHRASE else PHRASES
            spec = PromptSpec(kind, phrases[turn % len(phrases)].format(self.caption), (0,))
            specs.append(spec.neutral(self.neutral_prompt(spec.prompt)) if kind in (INSTEAD, UNPROMPTED) else spec)
        return specs


def split_brackets(forget: str) -> tuple[str, str]:
    """A prompt without its brackets, and without the words in them: "a hat [of straw]" -> ("a hat of straw", "a hat ")."""
    if "[" not in forget:
        return forget, ""
    return re.sub(r"[\[\]]", "", forget), re.sub(r"\[[^\]]*\]?", "", forget)

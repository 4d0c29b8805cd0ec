"""A concept in a user's own words, for a text-to-image model that the catalog does not know."""

import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vdu import judges
from vdu.entries import (
    EARLIER,
    INSTEAD,
    KEPT,
    MEASURED,
    MEASURED_ANEW,
    PARAPHRASE,
    REPLAYED,
    UNPROMPTED,
    Ask,
    Entry,
    ForgetSet,
    Words,
    history,
)
from vdu.errors import UserError
from vdu.metrics import Moments

# What is kept where a user names nothing: as different from each other as a few prompts can be.
KEEP = ("a photo of a dog", "a portrait of a woman", "a city street with cars", "a bowl of fruit on a table",
        "a mountain lake", "an oil painting of flowers", "a white church in a village", "a man riding a bicycle")  # fmt: skip
OTHERWISE = "something else"


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

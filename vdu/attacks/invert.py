"""Is there still a word for it? A new word is learned from a few pictures of the concept, the weights as they are.

Textual inversion (Gal et al., ICLR 2023) against an unlearned model, as Pham et al. (ICLR 2024, 2308.01508) break erasers of
concepts: a prompt's words for the concept are replaced by vectors, and the vectors are trained.
"""

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from vdu.attacks.base import (
    ORIGINAL,
    UNLEARNED,
    Attack,
    Attacked,
    Meter,
    Result,
    Row,
    and_list,
    at_model,
    denoising_loss,
    no_pictures,
    pictures_of_it,
    strip,
)
from vdu.concepts.base import TARGET
from vdu.data.forget_set import ForgetSet
from vdu.events import Progress
from vdu.methods.uce import common_ends
from vdu.models import FULL_SIZE, Condition, Model
from vdu.summary import pictures_words, steps_words
from vdu.task import kind_of

STEPS = (0, 20, 60)  # after which the model draws
PICTURES = 8  # learned from, all of them in every step
RATE = 0.1  # of Adam, in root mean squares of the text encoder's vectors
STEP_COST = 3  # evaluations of the network that a step costs per image, its gradients included


def misfit(attacked: Attacked) -> str:
    """One text encoder is needed, a network that is evaluated in a moment, and pictures."""
    model, name = attacked.task.model, attacked.task.recipe.model
    if not model.takes_prompts:
        return f"{name} takes no prompts."
    if kind_of(name) == FULL_SIZE or len(model.ENCODERS) != 1:
        return "A model of this size takes too long to learn a word."
    return no_pictures(attacked)


def replaced(tokens: Sequence[int], others: Sequence[int]) -> list[int]:
    """The places of a prompt's tokens that are not in the other prompt, between what both begin and end with."""
    head, tail = common_ends(tokens, others)
    return [*range(head, len(tokens) - tail)]


class Word:
    """A new word of a model's: a vector per token that it stands for, and how it reads prompts with it.

    Args:
        model: the model, which is not changed; its text encoder is copied, as others read with it at the same time.
        places: prompt -> the places of its tokens in whose place the word stands.
    """

    def __init__(self, model: Model, places: dict[str, list[int]]) -> None:
        encoder = copy.deepcopy(model.text_encoder).requires_grad_(False)
        self.model, self.places = replace(model, text_encoder=encoder, prompt_cache={}), places
        self.reads: list[str] = []
        table = encoder.get_input_embeddings()
        table.register_forward_hook(self.put)
        size = table.weight.float().square().mean().sqrt().item()
        longest = max(map(len, places.values()))
        self.vectors = table.weight.float().mean(0).repeat(longest, 1).requires_grad_()
        self.optimizer = torch.optim.Adam([self.vectors], RATE * size)

    @contextmanager
    def reading(self, prompts: list[str]) -> Iterator[None]:
        """While prompts are encoded, the word stands in them."""
        self.reads = prompts
        try:
            yield
        finally:
            self.reads = []

    def put(self, table: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The vectors of the tokens (n, tokens, width), with the word's own in its places."""
        if not self.reads:
            return output
        found = output.clone()
        for row, prompt in enumerate(self.reads):
            places = self.places[prompt]
            # Of several tokens the last is the noun, and the first an article, which not every prompt has.
            found[row, places] = self.vectors[len(self.vectors) - len(places) :].to(found)
        return found

    def conditions(self, prompts: list[str]) -> Condition:
        """The conditions of n prompts with the word."""
        with self.reading(prompts):
            return self.model.encode_prompts(prompts)

    def taught(self) -> Model:
        """The model, reading all prompts with the word as it is now."""
        prompts = list(self.places)
        with torch.no_grad():
            known = self.conditions(prompts)
        return replace(self.model, prompt_cache={prompt: known.rows([row]) for row, prompt in enumerate(prompts)})


def learn(word: Word, lesson: ForgetSet, seed: int) -> Generator[None, None, None]:
    """Train a word on pictures without end, a step at a time: Adam on `denoising_loss`."""
    model, random = word.model, torch.Generator().manual_seed(seed)
    clean = model.encode(lesson.images)
    while True:
        loss = denoising_loss(model, clean, word.conditions(lesson.captions), random)
        (word.vectors.grad,) = torch.autograd.grad(loss, [word.vectors])
        word.optimizer.step()
        yield


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Learn a word for every model, and count after some numbers of steps how often prompts with it draw the concept."""
    specs, rows, strips = attacked.specs((TARGET,), attacked.images), [], []
    drawn, learned = attacked.how.steps * len(specs) * len(STEPS), STEP_COST * PICTURES * STEPS[-1]
    meter = Meter(len(attacked.models) * (drawn + learned))
    lesson = yield from pictures_of_it(attacked.task, PICTURES)
    neutral = dict(zip(lesson.captions, lesson.neutral, strict=True))
    neutral |= {spec.prompt: attacked.task.concept.neutral_prompt(spec.prompt) for spec in specs}
    for name, model in attacked.models.items():
        read = {text: model.tokens_of(text, model.tokenizer) for text in {*neutral, *neutral.values()}}
        word = Word(model, {prompt: replaced(read[prompt], read[other]) for prompt, other in neutral.items()})
        steps = learn(word, lesson, attacked.seed)
        for step in range(STEPS[-1] + 1):
            if step:
                next(steps)
                yield meter.add(STEP_COST * len(lesson.images))
            if step in STEPS:
                images = yield from meter.draw(word.taught(), attacked, specs)
                shown = attacked.shown(images)
                rows.append(Row.rate(name, "", step, shown))
                strips.append(strip(name, steps_words(step), images, shown))
    return Result(rows, strips, in_words(attacked, rows, len(lesson.images)), {"pictures": len(lesson.images)})


def in_words(attacked: Attacked, rows: Sequence[Row], taught: int = PICTURES) -> str:
    """What a word learned from `taught` pictures draws, by every model."""
    last = {row.model: row for row in rows if row.at == STEPS[-1]}
    first = next(row for row in rows if (row.model, row.at) == (UNLEARNED, 0))
    found = and_list([f"{last[name].words()} by {at_model(name)}" for name in attacked.models])
    lost = last[ORIGINAL].value <= first.value
    doubt = " So few steps teach even the original model nothing, and the attack says nothing." if lost else ""
    return (
        f"With a word learned in {steps_words(STEPS[-1])} from {pictures_words(taught)}, {attacked.concept} is drawn in "
        f"{found}; before the word is learned, in {first.words()} by {at_model(UNLEARNED)}.{doubt}"
    )


ATTACK = Attack(
    title="A new word for it",
    question="The words for the concept are replaced by a word of no meaning, which learns from a few pictures what it stands "
    "for; no weight changes. If the concept comes back, only its name was forgotten.",
    over=("k", "steps of learning"),
    figure=("forget_rate", "forget rate, %"),
    settings={"steps": STEPS, "pictures": PICTURES, "learning_rate": RATE},
    misfit=misfit,
    carry_out=carry_out,
    rising=True,
)

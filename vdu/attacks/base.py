"""The interface of an attack: what is attacked, what an attack finds, and one clock over all its work."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdu.concepts.base import Concept, Kinds, PromptSpec
from vdu.data.forget_set import ForgetSet, RealSheets
from vdu.events import Clock, Progress
from vdu.intervals import clustered
from vdu.losses import noised, per_image_error
from vdu.models import Condition, Model
from vdu.samples import Samples, judged
from vdu.sampling import HowToSample, image_seeds, sample
from vdu.task import Task

# Network evaluations per image. Of 256 images of mnist-ddpm 13.3 % showed a 3, as 14.1 % did with 15; 93 % were clear, not 97.
FEW_STEPS = 8
IMAGES = 64  # for each rate; the interval of 12 % then lies above 6 %
SHOWN = 8  # images in a strip
ORIGINAL, UNLEARNED, RETRAINED = "original", "unlearned", "retrained"  # names of the models


@dataclass(frozen=True)
class Attacked:
    """What is attacked. No attack changes any of it.

    Attributes:
        task: the concept, its judge and its pictures, as in the run.
        models: name -> model, in this order: `ORIGINAL`, `UNLEARNED`, and perhaps `RETRAINED`, which never saw it.
        seed: of all that is random.
        images: how many are drawn for each rate, at least 1.
        unlearned_folder: where the unlearned model lies as diffusers loads it; None for nowhere.
    """

    task: Task
    models: dict[str, Model]
    seed: int = 0
    images: int = IMAGES
    unlearned_folder: Path | None = None

    @property
    def folders(self) -> dict[str, Path | None]:
        """Where the models lie as diffusers loads them."""
        return {name: model.folder for name, model in self.models.items()} | {UNLEARNED: self.unlearned_folder}

    @property
    def how(self) -> HowToSample:
        """The sampler of all attacks: that of the run, without fresh noise and with at most `FEW_STEPS` steps."""
        recipe = self.task.recipe
        return HowToSample(min(FEW_STEPS, recipe.sampler_steps), "ode", recipe.guidance)

    @property
    def concept(self) -> str:
        """What should be forgotten, in quotation marks."""
        return f"“{self.task.concept.display_name}”"

    def specs(self, kinds: Kinds, count: int) -> list[PromptSpec]:
        """`count` specs whose prompts are of some kinds in turn; without prompts, specs that ask for nothing."""
        return self.task.concept.plan(count, kinds)

    def samples(self, images: Tensor, specs: Sequence[PromptSpec]) -> Samples:
        """Images, uint8 (n, c, h, w), with what the judge makes of them."""
        return judged(images, self.task.judge, specs)

    def shown(self, images: Tensor) -> Tensor:
        """In which images, uint8 (n, c, h, w), the judge sees the concept, bool (n,)."""
        return self.samples(images, [PromptSpec()] * len(images)).showing(self.task.concept.class_sets)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        model: a key of `Attacked.models`, or a model made for comparison.
        series: what was done to it, where an attack does several things; else "".
        at: the place on the attack's axis, `Attack.over`: a number, or a name where the axis has no order.
        value: in [0, 1]; ci95: the ends of its 95 % interval.
        count: how many images it is counted in.
    """

    model: str
    series: str
    at: float | str
    value: float
    ci95: tuple[float, float]
    count: int

    @classmethod
    def rate(cls, model: str, series: str, at: float | str, hits: Tensor, made_from: Sequence[int] | None = None) -> "Row":
        """The share of true flags, bool (n,), n > 0, with its interval, see `clustered`.

        Args:
            made_from: the number of the picture that each image was made from; None if no two were made from one.
        """
        groups: dict[int, list[bool]] = {}
        for number, hit in zip(made_from or range(len(hits)), hits.tolist(), strict=True):
            groups.setdefault(number, []).append(hit)
        return cls(model, series, at, *clustered([*groups.values()]), len(hits))

    def words(self) -> str:
        """The value and its interval in percent: "12 % [6–22]"."""
        low, high = (round(100 * end) for end in self.ci95)
        return f"{100 * self.value:.0f} % [{low}–{high}]"


@dataclass(frozen=True)
class Strip:
    """Some of a model's images at one place of the axis: uint8 (n, c, h, w), and which of them show the concept, bool (n,)."""

    model: str
    title: str
    images: Tensor
    framed: Tensor


@dataclass(frozen=True)
class Result:
    """What an attack found.

    Attributes:
        rows: its figures; strips: its pictures.
        sentence: what they say, in plain English.
        more: further plain values for attack.json.
        lead: the same for its top level, beside those of other attacks.
    """

    rows: list[Row]
    strips: list[Strip]
    sentence: str
    more: dict[str, Any] = field(default_factory=dict)
    lead: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Attack:
    """One way to find out whether a concept is really gone. A module of this package assigns it to ATTACK.

    Attributes:
        title: its name on the page and in tables.
        question: what it asks, in a sentence or two.
        over: (key in attack.json, label) of its axis, such as ("k", "training steps").
        figure: (key in attack.json, label) of its values, which are shares in [0, 1].
        settings: its constants, for attack.json.
        misfit: why it cannot be carried out, as a sentence; "" if it applies.
        carry_out: does the work, with `Progress` after at most a second or so of it, and returns the result.
        rising: whether the axis is one of doublings, with a place for 0.
    """

    title: str
    question: str
    over: tuple[str, str]
    figure: tuple[str, str]
    settings: dict[str, Any]
    misfit: Callable[[Attacked], str]
    carry_out: Callable[[Attacked], Generator[Progress, None, Result]]
    rising: bool = False


class Meter:
    """One clock over an attack's work.

    Args:
        total: the amount of work, in image-steps of a sampler or whatever is counted.
    """

    def __init__(self, total: int) -> None:
        self.clock, self.done = Clock("attack", total), 0

    def expect(self, more: int) -> None:
        """Only so much more work is to come."""
        self.clock.total = self.done + more

    def add(self, count: int) -> Progress:
        """The progress after some more work."""
        self.done += count
        return self.clock.progress(self.done)

    def draw(
        self, model: Model, attacked: Attacked, specs: Sequence[PromptSpec], how: HowToSample | None = None, **start: Any
    ) -> Generator[Progress, None, Tensor]:
        """Images of a model, one per spec, uint8 (n, c, h, w); `start`: see `sampling.sample`."""
        seeds = image_seeds(attacked.seed, len(specs))
        return (yield from self.follow(sample(model, seeds, how or attacked.how, [spec.prompt for spec in specs], **start)))

    def follow(self, stream: Generator[int, None, Tensor]) -> Generator[Progress, None, Tensor]:
        """The images that a stream returns, which yields how much of it is done so far."""
        before = self.done
        while True:
            try:
                done = next(stream)
            except StopIteration as end:
                return end.value
            yield self.add(before + done - self.done)


def denoising_loss(model: Model, clean: Tensor, condition: Condition, random: torch.Generator) -> Tensor:
    """Mean of ||epsilon - epsilon_theta(x_t, t)||² / d over clean states (n, c, h, w) (Ho et al. 2020): a scalar.

    The timesteps lie evenly (Kingma et al. 2021), which makes steps of training less noisy.
    """
    places = torch.randperm(len(clean), generator=random) + torch.rand(1, generator=random)
    last = len(model.alpha_bar) - 1  # a place may round up to the end
    t = (places * (last + 1) / len(clean)).long().clamp(max=last).to(model.device)
    noise = torch.randn(clean.shape, generator=random).to(model.device)
    noisy = noised(clean, noise, model.alpha_bar[t])
    return per_image_error(model.predict_noise(noisy, t, condition), noise).mean()


def strip(model: str, title: str, images: Tensor, shown: Tensor) -> Strip:
    """The first `SHOWN` images."""
    return Strip(model, title, images[:SHOWN], shown[:SHOWN])


# --- pictures of the concept, and of other things ---


def no_pictures(attacked: Attacked) -> str:
    """A sentence if there are no pictures of the concept; else ""."""
    source, model = attacked.task.source, attacked.task.recipe.model
    if isinstance(source, RealSheets) or source.where:
        return ""
    return f"No pictures of {attacked.concept} ship with {model}, and the run was given none."


def pictures_of_it(task: Task, count: int) -> Generator[Progress, None, ForgetSet]:
    """At most `count` pictures of the concept, evenly from all: real ones or, where none may ship, the shipped model's.

    Raises:
        UserError: if a user's pictures cannot be read.
    """
    found = (yield from task.read_pictures()) or sheets(task, task.concept.forget)
    return found.rows(list(dict.fromkeys(number * len(found.images) // count for number in range(count))))


def pictures_of_others(task: Task, count: int) -> ForgetSet | None:
    """At most `count` shipped pictures of the classes to keep, one of each in turn, without those that show the concept.

    None if none ship: those of a user show the concept alone.
    """
    if not isinstance(task.source, RealSheets):
        return None
    sets, found = [sheets(task, name) for name in task.concept.retained_classes], []
    for row in range(max(len(one.images) for one in sets)):
        found += [one.rows([row]) for one in sets if row < len(one.images)]
        if len(found) >= 2 * count:
            break
    kept = reduce(ForgetSet.joined, found)
    shown = judged(kept.images, task.judge, [PromptSpec()] * len(kept.images)).showing(task.concept.class_sets)
    return kept.rows((~shown).nonzero().flatten().tolist()[:count])


def sheets(task: Task, name: str) -> ForgetSet:
    """The shipped pictures of what a name stands for, with captions if the model takes prompts."""
    concept = replace(task.concept, forget=name)
    if found := task.source.forget_set(concept):
        return found
    return reduce(ForgetSet.joined, [drawn_pictures(task, concept, one) for one in concept.forgotten_classes])


def drawn_pictures(task: Task, concept: Concept, name: str) -> ForgetSet:
    """The pictures of one class that ship where no real ones may: what the shipped model draws."""
    images = task.source.examples(name)
    if not concept.takes_prompts:
        return ForgetSet(images)
    phrases, thing = concept.words["phrases"], concept.meaning(name)
    captions = [concept.written(phrases[row % len(phrases)], thing) for row in range(len(images))]
    return ForgetSet(images, captions, [concept.neutral_prompt(caption) for caption in captions])


# --- words ---


def at_model(model: str) -> str:
    """A model in the middle of a sentence."""
    return "a model that never saw it" if model == RETRAINED else f"the {model} model"


def and_list(parts: Sequence[str]) -> str:
    """Parts of a sentence with commas and an "and" between them."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]

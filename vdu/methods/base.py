"""The interface of an unlearning method: what it declares, and the batch that it gets at every step."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vdu.concepts.base import Rewriting
from vdu.events import Progress
from vdu.losses import Posterior
from vdu.models import KINDS, Condition, Model
from vdu.models.guidance import Shift
from vdu.optimizers import CLOSED_FORM, GUIDANCE
from vdu.sampling import HowToSample


@dataclass
class NoisyImages:
    """Images noised to x_t.

    Attributes:
        states: x_t, (n, c, h, w); t: the timesteps, (n,); noise: the noise in the states, (n, c, h, w).
        condition: the network's condition; for forget images the caption's where `captioned`, elsewhere the neutral prompt's.
        caption, neutral: conditions of the captions and of the neutral prompts, for forget images of a model with prompts.
        captioned: which forget images are given their caption, bool (n,).
        from_neutral: which were sampled for the neutral prompt and do not show the class, bool (n,).
    """

    states: Tensor
    t: Tensor
    noise: Tensor
    condition: Condition
    caption: Condition | None = None
    neutral: Condition | None = None
    captioned: Tensor | None = None
    from_neutral: Tensor | None = None

    def rows(self, part: slice) -> "NoisyImages":
        """Some of the images."""
        return NoisyImages(*(
            value.rows(part) if isinstance(value, Condition) else value if value is None else value[part]
            for value in (getattr(self, name.name) for name in fields(self))
        ))  # fmt: skip


@dataclass
class Batch:
    """The input of a method in one step.

    Attributes:
        model: the model being changed; frozen: the model as it was.
        parameters: the trained parameters of the model, by name.
        posterior: mu* and sigma*^2; None where neither method nor optimizer needs them.
        forget: noised images of the concept to forget; weight: C_t of each, (n,).
        replay: noised images of everything else, drawn by the frozen model: a retain set without real data.
        forget_set, kept_set: the clean states (m, c, h, w) of `forget` and `replay`. A run gives `replay` and `kept_set` only
            to methods that declare `uses_retain_set`, and None to others.
        gamma, reach: as in the recipe, see `recipe.FIELDS`.
        window: first and last timestep of the forget images.
        how: the settings of the sampler.
        random: the generator for the method's own random draws.
        forgotten: names of the judge's classes to forget; none for a concept that only pictures or prompts describe.
    """

    model: Model
    frozen: Model
    parameters: dict[str, Tensor]
    posterior: Posterior | None
    forget: NoisyImages
    weight: Tensor
    replay: NoisyImages | None
    forget_set: Tensor
    kept_set: Tensor | None
    gamma: float
    reach: float
    window: tuple[int, int]
    how: HowToSample
    random: torch.Generator
    forgotten: tuple[str, ...] = ()

    def halves(self) -> list["Batch"]:
        """Two batches, each with half of the forget images and of the replayed ones; both sets stay whole."""
        middle = len(self.forget.t) // 2
        parts = slice(None, middle), slice(middle, None)
        forget, replay = self.forget, self.replay
        return [
            replace(self, forget=forget.rows(part), weight=self.weight[part], replay=replay and replay.rows(part))
            for part in parts
        ]


class Terms(NamedTuple):
    """The two terms of one batch, which are only shown, and the loss to minimise: scalars."""

    plasticity: Tensor
    stability: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Prompts:
    """The input of a method that is solved at once: it sees prompts, and no image.

    Attributes:
        frozen: the model as it was; the trained parameters are `frozen.trained`.
        rewritings, keep: prompts for the concept, with others in its place, and prompts to keep, see `Concept`.
        gamma, reach: as in the recipe, see `recipe.FIELDS`.
    """

    frozen: Model
    rewritings: Sequence[Rewriting]
    keep: Sequence[str]
    gamma: float
    reach: float


class Solution(NamedTuple):
    """The terms at a solution, and the new weights by the names of the trained parameters; all others stay as they are."""

    terms: Terms
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class Method:
    """An unlearning method: a file in this package that declares METHOD. Its name is the file's, with - for _.

    Attributes:
        title: its name on the page.
        paper: arXiv number of its source, "" for none; the hub links the card of an unlearned model to it.
        loss: (batch, state) -> terms; the state is the value of `prepare`, None without it. A method has one of loss, `solve`
            and `guide`.
        solve: prompts -> the new weights, for a method in closed form; its optimizer is "closed-form", its steps are 1.
        guide: (batch, state) -> what guides samples, for a method that leaves the weights as they are; its optimizer is
            "guidance", its steps are 1. It may use the batch's sets of images and its frozen model.
        defaults: kind of model -> recipe field -> default; the method refuses a kind that is missing.
        by_model: name in the catalog -> field -> default, for a model that is served better by others than its kind.
        uses_forget_images: whether the loss uses the images in `Batch.forget`, and not only their prompts and timesteps.
        needs_posterior: whether the loss uses mu* and sigma*^2.
        uses_retain_set: whether the loss uses `Batch.replay`.
        uses_own_samples: whether the frozen model's own samples of the class join the forget images.
        prepare: batches -> a generator of progress, run once before the first step; its return value is the method's state.
        prepared: kinds of model for which `prepare` is run; for the others the state is None.
        mask: state -> parameter name -> factors on its gradient, applied before every step.
        choose_states: batch -> new noisy forget images, for a method that draws x_t in its own way.
        row_by_row: whether the loss is a mean over the rows of the batch and draws no random numbers, so that the halves of a
            batch can be computed side by side.
        experimental: whether its settings have been tried on only a few runs.
    """

    title: str
    paper: str
    defaults: Mapping[str, Mapping[str, float | int | str]]
    loss: Callable[[Batch, Any], Terms] | None = None
    solve: Callable[[Prompts], Solution] | None = None
    guide: Callable[[Batch, Any], Shift] | None = None
    by_model: Mapping[str, Mapping[str, float | int | str]] = field(default_factory=dict)
    uses_forget_images: bool = True
    needs_posterior: bool = False
    uses_retain_set: bool = False
    uses_own_samples: bool = False
    prepare: Callable[[Iterator[Batch]], Generator[Progress, None, Any]] | None = None
    prepared: Sequence[str] = KINDS
    mask: Callable[[Any], Mapping[str, Tensor]] | None = None
    choose_states: Callable[[Batch], NoisyImages] | None = None
    row_by_row: bool = False
    experimental: bool = False

    def refuses(self, optimizer: str) -> str:
        """Why the method does not go with an optimizer, as the end of a sentence; "" if it does."""
        own = CLOSED_FORM if self.solve else GUIDANCE if self.guide else None
        if own:
            return "" if optimizer == own else f"takes no steps; choose {own}"
        return f"takes steps; choose another optimizer than {optimizer}" if optimizer in (CLOSED_FORM, GUIDANCE) else ""

    def declared_part(self, batch: Batch) -> Batch:
        """The batch without a retain set that the method does not declare, which the report would not count."""
        return batch if self.uses_retain_set else replace(batch, replay=None, kept_set=None)

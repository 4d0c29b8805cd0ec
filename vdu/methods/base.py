"""What a method of unlearning declares, and what it is given at every step."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vdu.events import Progress
from vdu.losses import Posterior
from vdu.models import Condition, Model
from vdu.sampling import HowToSample


@dataclass
class NoisyImages:
    """Images noised to x_t.

    Attributes:
        states: x_t, (n, c, h, w); t: their timesteps, (n,); noise: the noise in them, (n, c, h, w).
        condition: what the network is told; of forget images the caption where they are `named`, elsewhere `neutral`.
        caption, neutral: of forget images with prompts, conditions of the caption and of the neutral prompt.
        named: which forget images go with their caption, bool (n,).
        replaced: which were sampled for the neutral prompt and are not of the class, bool (n,).
    """

    states: Tensor
    t: Tensor
    noise: Tensor
    condition: Condition
    caption: Condition | None = None
    neutral: Condition | None = None
    named: Tensor | None = None
    replaced: Tensor | None = None


@dataclass
class Batch:
    """What a method sees in one step.

    Attributes:
        model: the model being changed; frozen: the model as it was.
        parameters: the trained parameters of the model, by name.
        posterior: mu* and sigma*^2, where the method or the optimizer needs them.
        forget: noised images of what is to be forgotten; weight: C_t of each, (n,).
        replay: noised images that the frozen model drew of the rest: a retain set without real data.
        forget_set, kept_set: the states (m, c, h, w) that these are made from.
        gamma, reach: see `Recipe`.
        window: first and last timestep at which something is to be forgotten.
        how: how images are sampled.
        random: for random draws of the method's own.
    """

    model: Model
    frozen: Model
    parameters: dict[str, Tensor]
    posterior: Posterior | None
    forget: NoisyImages
    weight: Tensor
    replay: NoisyImages
    forget_set: Tensor
    kept_set: Tensor
    gamma: float
    reach: float
    window: tuple[int, int]
    how: HowToSample
    random: torch.Generator


class Terms(NamedTuple):
    """The two terms of one batch, which are shown, and the loss to descend: scalars."""

    plasticity: Tensor
    stability: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Method:
    """One way to unlearn: a file in this package that declares METHOD. The file's name, with - for _, is the method's.

    Attributes:
        title: what the page calls it.
        paper: its source, an arXiv number or "" for the project's own.
        loss: terms of one batch, given what `prepare` returned.
        defaults: recipe fields by the kind of model; a kind that is missing cannot be unlearned this way.
        uses_forget_images: whether the loss looks at the images in `Batch.forget`, beyond their prompts and timesteps.
        needs_posterior: whether the loss looks at mu* and sigma*^2.
        uses_retain_set: whether the loss looks at `Batch.replay`.
        uses_own_samples: whether what the frozen model drew of the class counts among the forget images.
        prepare: looks at batches once before the first step, with progress; its value is the method's state.
        mask: state -> factor per parameter for its gradient between backward and step.
        choose_states: replaces the noisy forget images of a batch, for a method that has a say in how x_t is drawn.
        experimental: whether its settings have been tried on few runs only.
    """

    title: str
    paper: str
    loss: Callable[[Batch, Any], Terms]
    defaults: Mapping[str, Mapping[str, float | int | str]]
    uses_forget_images: bool = True
    needs_posterior: bool = False
    uses_retain_set: bool = False
    uses_own_samples: bool = False
    prepare: Callable[[Iterator[Batch]], Generator[Progress, None, Any]] | None = None
    mask: Callable[[Any], Mapping[str, Tensor]] | None = None
    choose_states: Callable[[Batch], NoisyImages] | None = None
    experimental: bool = False

"""The record of one run: its task and everything it has produced so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vdu.events import Preview, StepTaken
from vdu.losses import Posterior
from vdu.methods import METHODS
from vdu.models import Model
from vdu.optimizers import NEEDS_POSTERIOR
from vdu.posterior import POSTERIORS, Estimation
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.samples import Samples
from vdu.task import Task, open_task

# Why a run ended.
STOPPED = "stopped by the user"
REACHED = "the forget rate met its target"
DAMAGED = "the kept classes began to suffer"
SPENT = "all steps were taken"
TIMED_OUT = "the time allowed for a run was over"
BROKEN = "the loss was no longer finite; a smaller step size would help"


@dataclass
class Run:
    """One run.

    Attributes:
        recipe: the user's choices; after construction every open field is filled.
        start: folder of the model that an earlier run left, to continue from; "" to start from the recipe's model.
        device: where the model is held, if not on the recipe's device; "" for that one.
        task: the model being changed (a private copy), the concept, the judge and the pictures.
        replay: samples of the frozen model that the run steers by; None before they are drawn.
        before, after: samples of both models from the measured seeds; None before they are drawn.
        figures: "before" and "after" -> figures of that model, as in the report.
        images_seen: kind of image -> number of images of this kind that the method sees.
        seconds: wall-clock time in seconds, by phase.
        scale: the unlearned weights are mu* + scale * (the change made by the steps), see `vdu.scale`.
        reason: why the run ended.
        machine: where another process computed the run: its device in words and its peak memory in MiB; None for this process.
        posterior, estimation: mu* and sigma*^2, and the generator that estimates them; None where the recipe needs none.

    Raises:
        UserError: on construction, if model, concept, parameters, posterior or device are not available.
    """

    recipe: Recipe
    start: str = ""
    device: str = ""
    replay: Replay | None = None
    before: Samples | None = None
    after: Samples | None = None
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    images_seen: dict[str, int] = field(default_factory=dict)
    previews: list[Preview] = field(default_factory=list)
    steps: list[StepTaken] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    reason: str = STOPPED
    machine: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        self.task: Task = open_task(self.recipe, self.start, self.device)
        self.recipe = self.task.recipe
        self.task.concept.plan(1)  # refuses what cannot be forgotten or kept
        self.model.train_only(self.recipe.parameters)
        self.posterior: Posterior | None = None
        self.estimation: Estimation | None = None
        if METHODS[self.recipe.method].needs_posterior or self.recipe.optimizer in NEEDS_POSTERIOR:
            self.estimation = estimation_of(self.task)

    @property
    def model(self) -> Model:
        """The model being changed."""
        return self.task.model

    @property
    def target(self) -> float:
        """The target forget rate as the judge would count it, its false alarms included."""
        rates = self.task.judge.error_rates
        return rates.counted(self.recipe.target) if rates else self.recipe.target

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time spent inside a `with` block to a phase's seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started

    def keep_preview(self, drawn: Samples, step: int) -> Preview:
        """Keep samples of the grid's seeds as the preview of a step, replacing an earlier preview of the same step."""
        preview = self.replay.preview(drawn, step)
        self.add_preview(preview)
        return preview

    def add_preview(self, preview: Preview) -> None:
        """Keep a preview, replacing an earlier one of the same step."""
        if self.previews and self.previews[-1].step == preview.step:
            self.previews.pop()
        self.previews.append(preview)


def estimation_of(task: Task) -> Estimation:
    """The estimation of the posterior that a recipe names, for a model whose trained parameters are chosen.

    Raises:
        UserError: if the model comes without what the posterior is read from.
    """
    estimate, _ = POSTERIORS[task.recipe.posterior]
    return estimate(task.model, task.concept.prompts)

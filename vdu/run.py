"""The record of one run: what it works on, and everything it has produced so far."""

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
from vdu.posterior import POSTERIORS, Estimating
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.samples import Samples
from vdu.task import Task, open_task

# Why a run ended.
STOPPED = "stopped by the user"
REACHED = "the forget rate met its target"
DAMAGED = "the kept classes began to suffer"
SPENT = "all steps were taken"
BROKEN = "the loss was no longer finite; a smaller step size would help"


@dataclass
class Run:
    """One run.

    Attributes:
        recipe: what the user asks for; after construction with every open field filled.
        start: folder that an earlier run left of the recipe's model, to go on from there; "" for the model as it came.
        task: the model being changed, a private copy, and all that belongs to it.
        replay: what the frozen model drew to steer by.
        before, after: samples from the measured seeds.
        figures: "before" and "after" -> what was measured.
        images_seen: what kind of images the method looks at -> how many there are.
        seconds: wall-clock time by phase.
        scale: the unlearned weights are mu* + scale * (the change that the steps made), see `vdu.scale`.
        reason: why it ended.
        posterior, estimating: mu* and sigma*^2, and their estimation, where the recipe needs them.

    Raises:
        UserError: on construction, if the model, concept, parameters, posterior or device are not to be had.
    """

    recipe: Recipe
    start: str = ""
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

    def __post_init__(self) -> None:
        self.task: Task = open_task(self.recipe, self.start)
        self.recipe = self.task.recipe
        self.task.concept.plan(1)  # refuses what cannot be forgotten, or kept
        self.model.train_only(self.recipe.parameters)
        self.posterior: Posterior | None = None
        self.estimating: Estimating | None = None
        if METHODS[self.recipe.method].needs_posterior or self.recipe.optimizer in NEEDS_POSTERIOR:
            estimate, _ = POSTERIORS[self.recipe.posterior]
            self.estimating = estimate(self.model, self.task.concept.prompts)

    @property
    def model(self) -> Model:
        """The model being changed."""
        return self.task.model

    @property
    def target(self) -> float:
        """The forget rate to arrive at, as the judge would count it."""
        rates = self.task.judge.error_rates
        return rates.counted(self.recipe.target) if rates else self.recipe.target

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the time spent inside towards a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started

    def keep_preview(self, drawn: Samples, step: int) -> Preview:
        """Keep what was drawn from the grid's seeds as the preview of a step, in place of an earlier one of that step."""
        preview = self.replay.preview(drawn, step)
        if self.previews[-1].step == step:
            self.previews.pop()
        self.previews.append(preview)
        return preview

"""The events that a run yields while it is under way, for the page, the command line and the API."""

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")

PHASES = {
    "waiting": "Waiting for other runs",
    "pictures": "Reading pictures",
    "judge": "Drawing images to fit a judge on",
    "replay": "Drawing images to steer by",
    "posterior": "Estimating the posterior",
    "prepare": "Choosing the weights to change",
    "before": "Measuring the untouched model",
    "unlearn": "Unlearning",
    "scale": "Finding how far to go",
    "preview": "Drawing a preview",
    "after": "Measuring the unlearned model",
    "sample": "Drawing samples",
    "attack": "Trying to bring it back",
    "cells": "Running cells",
}


@dataclass(frozen=True)
class Progress:
    """A phase, one of `PHASES`, has done `done` of `total`; `seconds_left` is None where it is not known."""

    phase: str
    done: int
    total: int
    seconds_left: float | None


@dataclass
class Clock:
    """The pace of a phase, and from it the seconds left.

    Attributes:
        phase: one of `PHASES`; total: the amount of work in it.
        started: `time.monotonic` at its start, in seconds.
    """

    phase: str
    total: int
    started: float = field(default_factory=time.monotonic)

    def progress(self, done: int) -> Progress:
        """The progress event after `done` of `total`."""
        elapsed = time.monotonic() - self.started
        return Progress(self.phase, done, self.total, elapsed * (self.total - done) / done if done else None)

    def follow(self, stream: Generator[int, None, Value]) -> Generator[Progress, None, Value]:
        """Turn a generator of counts, such as `sampling.sample`, into one of progress events that returns the same value."""
        try:
            while True:
                yield self.progress(next(stream))
        except StopIteration as stop:
            return stop.value


@dataclass(frozen=True)
class Preview:
    """What the model draws from the grid's seeds after `step` steps (0: the untouched model).

    Attributes:
        images: uint8 (n, c, h, w).
        forgotten: whether the judge sees the concept to forget in each image, bool (n,).
        forget_rate: estimate for all samples, from these images and the untouched model's class shares, in [0, 1].
        damage: share of the kept seeds whose image is no longer clearly of its former class, in [0, 1].
    """

    step: int
    images: Tensor
    forgotten: Tensor
    forget_rate: float
    damage: float


@dataclass(frozen=True)
class StepTaken:
    """One optimiser step, with both terms and the method's loss just before it."""

    step: int
    plasticity: float
    stability: float
    loss: float


@dataclass(frozen=True)
class Measured:
    """One of the two models has been measured.

    Attributes:
        side: "before" or "after".
        figures: the result of `metrics.measure`, as in the report.
    """

    side: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """The run is over; `reason` says why it stopped."""

    reason: str


Event = Progress | Preview | StepTaken | Measured | Finished

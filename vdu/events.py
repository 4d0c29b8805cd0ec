"""What a run says while it goes on. The page, the command line and the API only read these."""

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")

PHASES = {
    "judge": "Drawing images to fit a judge on",
    "replay": "Drawing images to steer by",
    "posterior": "Estimating the posterior",
    "prepare": "Looking for the weights to change",
    "before": "Measuring the model as it was",
    "unlearn": "Unlearning",
    "scale": "Finding how far to go",
    "preview": "Looking at what it draws now",
    "after": "Measuring the unlearned model",
    "sample": "Drawing samples",
}


@dataclass(frozen=True)
class Progress:
    """A phase, one of `PHASES`, has done `done` of `total`; `seconds_left` is an estimate for it."""

    phase: str
    done: int
    total: int
    seconds_left: float | None


@dataclass
class Clock:
    """The pace of a phase, and from it the seconds left.

    Attributes:
        phase: one of `PHASES`; total: how much there is to do.
        started: `time.monotonic` of its start.
    """

    phase: str
    total: int
    started: float = field(default_factory=time.monotonic)

    def progress(self, done: int) -> Progress:
        """A progress event."""
        elapsed = time.monotonic() - self.started
        return Progress(self.phase, done, self.total, elapsed * (self.total - done) / done if done else None)

    def follow(self, stream: Generator[int, None, Value]) -> Generator[Progress, None, Value]:
        """Turn a stream of counts, such as `sampling.sample`, into progress events; its value is the stream's."""
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
        forgotten: which of them the judge gives to the forgotten class, bool (n,).
        forget_rate: estimate over all that the model draws, from these images and the model's own class shares.
        damage: share of the kept seeds whose image is no longer clearly of the class it was.
    """

    step: int
    images: Tensor
    forgotten: Tensor
    forget_rate: float
    damage: float


@dataclass(frozen=True)
class StepTaken:
    """One optimiser step: both terms and the method's loss before it."""

    step: int
    plasticity: float
    stability: float
    loss: float


@dataclass(frozen=True)
class Measured:
    """The full measurement is done.

    Attributes:
        side: "before" or "after".
        figures: what `metrics.measure` found, as in the report.
    """

    side: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """The run is over; `reason` says why it stopped."""

    reason: str


Event = Progress | Preview | StepTaken | Measured | Finished

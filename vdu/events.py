"""What a run says while it goes on. The page, the command line and the API only read these."""

from dataclasses import dataclass

from torch import Tensor

PHASES = {
    "judge": "Drawing images to fit a judge on",
    "replay": "Drawing images to steer by",
    "posterior": "Estimating the posterior",
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
    """The full measurement is done; `side` is "before" or "after"."""

    side: str


@dataclass(frozen=True)
class Finished:
    """The run is over; `reason` says why it stopped."""

    reason: str


Event = Progress | Preview | StepTaken | Measured | Finished

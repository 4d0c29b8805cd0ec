"""What is timed, and what was aimed at."""

from typing import NamedTuple


class Case(NamedTuple):
    """A whole run, as people start it.

    Attributes:
        model, forget: of its recipe; title: its name in a table.
        whole: the most that the run may take, in runs of the older build; None if nothing is aimed at.
        unlearn: the same for its phase of that name.
    """

    model: str
    forget: str
    title: str
    whole: float | None
    unlearn: float | None


CASES = {
    "digit": Case("mnist-ddpm", "3", "mnist-ddpm, digit 3", 0.35, 0.35),
    "word": Case("tiny-sd", "red", "tiny-sd, red", 0.5, 0.5),
    "photograph": Case("cifar10-ddpm", "cat", "cifar10-ddpm, cat", 0.35, None),
}
MEMORY = 0.7  # peak, in peaks of the older build
BESIDE = 1.5  # seconds beside a busy process, in seconds of the same build without one
MODELS, PAGE = 1.5, 5.0  # seconds of `vdu models`, and until the page answers
SAMPLER, STEP = 1.05, 1.15  # seconds, in seconds of the bare networks

"""Where a run is computed: in this process, or on a Space with ZeroGPU in a forked process, which alone has the GPU.

On ZeroGPU the page's process has no GPU, although torch says it has one. Its `Run` stays on the CPU and takes over what the
same run yields and leaves in the forked process (`vdu.outcome`). That process is used again for other visitors, so nothing of
a run is kept there but caches by content, whose weights are never trained.

Drawings after a run, of the "How far" slider and of any prompt, are computed on the CPU of the page's process: a GPU would
cost the visitor some of their quota for every move of the slider, and the shipped models draw them in seconds. Full-size
models need minutes per image there, so `check_drawing` refuses them.
"""

import os
import pickle
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from queue import Empty
from typing import Any

import gradio as gr
import httpx

from vdu.errors import UserError
from vdu.events import Event, Measured
from vdu.models import FULL_SIZE
from vdu.optimizers import GUIDANCE
from vdu.outcome import Outcome, Weight, absorb, outcome_of, pack, weights_of
from vdu.recipe import Recipe
from vdu.run import TIMED_OUT, Run
from vdu.task import kind_of
from vdu.unlearn import unlearn

Seconds = Callable[[Recipe], float]  # recipe -> how long its run takes on the GPU, in seconds

# A visitor without an account has two minutes per day, and ZeroGPU refuses to lend more than a visitor may ever have.
MOST_SECONDS = 120
USUAL_SECONDS = 60  # lent where nothing is said
SPARE_SECONDS = 10  # to start CUDA, and after the deadline to finish an event and hand over the weights

ABORTED = "The GPU was taken back before the run was over; use fewer samples or steps, and try again."
SILENT = "ZeroGPU does not answer; try again in a minute."
ANSWERS = {  # title of an error of `spaces`, or its message -> what to do; {wait} is when to come back
    "ZeroGPU quota exceeded": "Your time on ZeroGPU is used up; come back {wait}, or log in to Hugging Face for more.",
    "ZeroGPU pending credits exceeded": "Your other tasks hold all of your time on ZeroGPU; try again once one has ended.",
    "ZeroGPU illegal duration": "This run needs more time on ZeroGPU than you may have at once; use fewer samples or steps.",
    "ZeroGPU queue timeout": "No GPU became free within a minute; try again later.",
    "ZeroGPU client error": "No GPU is free; try again in a minute.",
    "GPU task aborted": ABORTED,
    "OutOfMemoryError": "The GPU has too little memory for this run; use a smaller batch size or a smaller model.",
}


class Refused(str):
    """The sentence of a `UserError`, from the forked process; `spaces` would pass on the name of its class alone."""


def on_zerogpu() -> bool:
    """Whether this is a Space with ZeroGPU, by the same setting as `spaces`."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None


def usual_seconds(recipe: Recipe) -> float:
    """`USUAL_SECONDS`; for a full-size model, as long as ZeroGPU lends a GPU."""
    return MOST_SECONDS if kind_of(recipe.model) == FULL_SIZE else USUAL_SECONDS


def lent_seconds(recipe: Recipe, start: str, stop: Path, seconds: float) -> int:
    """How long `events_of` with the same arguments needs a GPU."""
    return round(seconds)


def events_of(recipe: Recipe, start: str, stop: Path, seconds: float) -> Iterator[bytes]:
    """Compute a run in the process that has the GPU.

    It ends early, with what it has, once `stop` exists or `SPARE_SECONDS` before its time is over; the deadline leaves the
    reason `TIMED_OUT`. It looks at both after every event.

    Args:
        recipe, start: see `Run`.
        stop: a file whose existence ends the run.
        seconds: how long the GPU is lent.

    Yields:
        packed messages (`vdu.outcome.pack`): the events; an `Outcome` before each `Measured`; at the end all weights and the
        last `Outcome`; or instead a `Refused`.
    """
    deadline = time.monotonic() + seconds - SPARE_SECONDS
    try:
        run = Run(recipe, start)
        with closing(unlearn(run)) as events:
            for event in events:
                if isinstance(event, Measured):
                    yield pack(outcome_of(run))
                yield pack(event)
                if stop.exists():
                    break
                if time.monotonic() > deadline:
                    run.reason = TIMED_OUT
                    break
        yield from map(pack, weights_of(run))
        yield pack(outcome_of(run))
    except UserError as error:
        yield pack(Refused(error))


def with_gpu(function: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]] | None:
    """A generator function that computes where ZeroGPU has a GPU; None if there is no ZeroGPU."""
    if not on_zerogpu():
        return None
    import spaces  # only on a Space

    return spaces.GPU(duration=lent_seconds)(function)


FORKED = with_gpu(events_of)


def open_run(recipe: Recipe, start: str = "") -> Run:
    """A run for `compute`; on ZeroGPU its model is on the CPU, and the recipe still names the device that was asked for.

    Raises:
        UserError: see `Run`.
    """
    return Run(recipe, start, "cpu" if FORKED else "")


def compute(run: Run, stop: Callable[[], bool], seconds: Seconds = usual_seconds) -> Iterator[Event]:
    """Compute a run wherever this machine does.

    It ends by itself soon after `stop` is true; only the wait for a GPU, of a minute at most, is not cut short. Callers must
    iterate to the end: on ZeroGPU the weights come last. Closing it early gives the GPU back and leaves a run that must be
    thrown away.

    Args:
        run: a run of `open_run`, which is filled.
        stop: whether the run must end with what it has.
        seconds: how long a run of a recipe takes on the GPU; more than `MOST_SECONDS` is not asked for.

    Raises:
        UserError: if the run cannot be computed; also for every error of ZeroGPU.
    """
    return elsewhere(run, stop, seconds, FORKED) if FORKED else here(run, stop)


def here(run: Run, stop: Callable[[], bool]) -> Iterator[Event]:
    """`compute` in this process."""
    with closing(unlearn(run)) as events:
        for event in events:
            if stop():
                break
            yield event


def elsewhere(run: Run, stop: Callable[[], bool], seconds: Seconds, forked: Callable[..., Iterator[bytes]]) -> Iterator[Event]:
    """`compute` in the process that a decorated `events_of` forks."""
    outcome: Outcome | None = None
    weights: list[Weight] = []
    lent = min(MOST_SECONDS, seconds(run.recipe) + SPARE_SECONDS)
    with tempfile.TemporaryDirectory(prefix="vdu-stop-") as folder:
        flag = Path(folder) / "stop"
        with closing(heard(forked(run.recipe, run.start, flag, lent))) as messages:
            for message in messages:
                if stop():
                    flag.touch()
                if isinstance(message, Refused):
                    raise UserError(str(message))
                if isinstance(message, Weight):
                    weights.append(message)  # taken over only once all are there
                    continue
                absorb(run, message)
                if isinstance(message, Outcome):
                    outcome = message
                elif not stop():
                    yield message
    if outcome is None or len(weights) != len(run.model.trained):
        raise UserError(ABORTED)
    for weight in weights:
        absorb(run, weight)


def heard(messages: Iterable[bytes]) -> Iterator[Any]:
    """Unpack messages; what `spaces` raises becomes a sentence.

    Raises:
        UserError: for every error of ZeroGPU.
    """
    try:
        for message in messages:
            yield pickle.loads(message)
    except gr.Error as error:
        raise UserError(sentence_of(error)) from error
    except (RuntimeError, Empty, httpx.HTTPError) as error:
        raise UserError(SILENT) from error
    finally:
        messages.close()


def sentence_of(error: gr.Error) -> str:
    """What to do about an error of `spaces`."""
    message = str(error.message)
    found = re.search(r"Try again in ([^.]+)\.", message)
    answer = ANSWERS.get(message) or ANSWERS.get(error.title)
    if answer is None:  # the name of a Python exception that nobody foresaw
        return f"The run failed on the GPU ({message[:100]}); try again, and report it if it fails again."
    return answer.format(wait=f"in {found[1]}" if found else "later")


def check_drawing(run: Run) -> None:
    """Refuse drawings after a run where they would take an hour.

    Raises:
        UserError: for a full-size model on ZeroGPU, whose GPU computes whole runs only; also for samples that are guided,
            since the guidance stays in the forked process.
    """
    if FORKED and run.recipe.optimizer == GUIDANCE:
        raise UserError(f"On ZeroGPU, {run.recipe.method} draws only during runs; choose another method.")
    if FORKED and kind_of(run.recipe.model) == FULL_SIZE:
        raise UserError("On ZeroGPU a model of this size draws only during runs; download the result and draw elsewhere.")

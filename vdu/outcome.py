"""What a run leaves in the process that computed it, and how the same run takes it over in another process."""

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdu.events import Event, Preview, StepTaken
from vdu.judges.fitted import FittedJudge, PictureClassifier
from vdu.replay import Replay
from vdu.run import Run
from vdu.samples import Samples
from vdu.system import describe_device, peak_memory_mib

LEFT = ("before", "after", "figures", "images_seen", "previews", "steps", "seconds", "scale", "reason")  # fields of a run


@dataclass(frozen=True)
class Weight:
    """One trained parameter, by its name: a message per parameter keeps all messages small."""

    name: str
    value: Tensor


@dataclass(frozen=True)
class Outcome:
    """All that a run has produced so far but its weights.

    Attributes:
        left: field of `Run`, one of `LEFT` -> its value.
        replay: seeds and samples of the replay; None before they are drawn.
        classifier: what the run fitted its judge to; None if it fits none.
        machine: the device in words and its peak memory in MiB.
    """

    left: dict[str, Any]
    replay: tuple[list[int], Samples] | None
    classifier: PictureClassifier | None
    machine: tuple[str, float]


def outcome_of(run: Run) -> Outcome:
    """What a run has produced so far."""
    judge, device = run.task.judge, run.model.device
    return Outcome(
        left={name: getattr(run, name) for name in LEFT},
        replay=(run.replay.seeds, run.replay.samples) if run.replay else None,
        classifier=judge.classifier if isinstance(judge, FittedJudge) else None,
        machine=(describe_device(device), peak_memory_mib(device)),
    )


def weights_of(run: Run) -> Iterator[Weight]:
    """The trained parameters of a run."""
    return (Weight(name, value.detach()) for name, value in run.model.trained.items())


def absorb(run: Run, message: Event | Weight | Outcome) -> None:
    """Take over what the same run yielded or left in another process.

    After the last outcome and all weights the run can be reported, written, viewed and experimented on as if this process had
    computed it.
    """
    task = run.task
    if isinstance(message, StepTaken):
        run.steps.append(message)
    elif isinstance(message, Preview):
        run.add_preview(message)
    elif isinstance(message, Weight):
        with torch.no_grad():
            run.model.trained[message.name].copy_(message.value)
    elif isinstance(message, Outcome):
        for name, value in message.left.items():
            setattr(run, name, value)
        run.replay = Replay(task.concept, task.judge, run.recipe.how, *message.replay) if message.replay else None
        run.machine = message.machine
        if message.classifier:
            task.judge.classifier = message.classifier


class Packer(pickle.Pickler):
    """Pickles tensors by value, from whatever device they are on, with none of the memory that they are a view of."""

    def reducer_override(self, value: Any) -> Any:
        """See `pickle.Pickler`."""
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.detach().cpu().contiguous().numpy(),)
        return NotImplemented


def pack(message: object) -> bytes:
    """A message as bytes, which `pickle.loads` reads; its tensors arrive on the CPU."""
    packed = io.BytesIO()
    Packer(packed, pickle.HIGHEST_PROTOCOL).dump(message)
    return packed.getvalue()

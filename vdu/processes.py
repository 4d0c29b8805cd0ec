"""Work in several processes, with `accelerate launch -m vdu …` or torchrun, which sets the same variables.

In training, every process draws the whole batch and computes the losses of its own rows; then the gradients are averaged, so
that all take the step that a single process would take. In a command that is `shared`, all processes do the same, but each
computes its own batches of samples and estimates, and all get the results. Only the first process prints, and writes to a disk
that all of them share. In a single process these functions do nothing, and accelerate need not be installed.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import count, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from vdu.errors import UserError, first_line

if TYPE_CHECKING:  # torch takes seconds to import, and the command line asks here first
    from accelerate import PartialState
    from torch import Tensor, nn

Value = TypeVar("Value")

PATIENCE = timedelta(days=1)  # the default, 10 or 30 minutes, is less than the first process may need to train a judge
HESITATION = 5.0  # seconds in which a launcher ends the others after the first has failed
SHARES = ContextVar("SHARES", default=False)  # whether this thread is in a block that is `shared`


def number_of_processes() -> int:
    """How many processes the launcher has started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return number_of_processes() < 2 or os.environ.get("RANK", "0") == "0"


def group() -> "PartialState | None":
    """The state of this process within its group; None for a single process. The first call gives it its own GPU.

    Raises:
        UserError: if accelerate is missing.
    """
    if number_of_processes() < 2:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UserError("Several processes need accelerate; install it with: pip install accelerate") from error
    from vdu.models import pick_device

    return PartialState(cpu=pick_device("auto") == "cpu", timeout=PATIENCE)


def wait() -> None:
    """Return once all processes have called this."""
    if state := group():
        state.wait_for_everyone()


def leave() -> None:
    """Wait for all processes and leave the group."""
    if state := group():
        state.wait_for_everyone()
        state.destroy_process_group()


def let_main_speak() -> None:
    """Before a failure is printed: if the first process fails too, the launcher ends the others before they say the same."""
    if not is_main():
        time.sleep(HESITATION)


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block, or a decorated function, in the first process, and afterwards in the others, which find its results."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


# --- training ---


def own_rows(*batch: "Tensor") -> "tuple[Tensor, ...]":
    """This process's rows of tensors (n, …), as tensors (n / processes, …).

    Raises:
        UserError: if n is no multiple of the number of processes.
    """
    state, rows = group(), len(batch[0])
    if not state:
        return batch
    if rows % state.num_processes:
        raise UserError(
            f"{state.num_processes} processes cannot share batches of {rows}; start a number of them that divides {rows}."
        )
    return tuple(part.chunk(state.num_processes)[state.process_index] for part in batch)


def mean(value: "Tensor") -> "Tensor":
    """The mean of a tensor over all processes, the same in each."""
    if not group():
        return value
    from accelerate.utils import reduce

    return reduce(value, "mean")


def average_gradients(network: "nn.Module") -> None:
    """Replace the gradients by their means over all processes, in one message."""
    if not group():
        return
    import torch

    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    means = mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def agreed(value: Any) -> Any:
    """The first process's `value`, a number or a truth value, in all processes."""
    if not group():
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


# --- sampling and estimates ---


@contextmanager
def shared() -> Iterator[None]:
    """Share the work of a block, or a decorated function, that all processes run; at its end they wait for one another.

    Nothing is shared outside, so that a process may draw samples alone, as the first one does after training. In the block no
    process may draw or estimate what the others do not, for each waits for the others' results.

    Raises:
        UserError: if accelerate is missing.
    """
    if not group():
        yield
        return
    before = SHARES.set(True)
    try:
        yield
    finally:
        SHARES.reset(before)
    with exchange():
        leave()


def sharers() -> "PartialState | None":
    """The state of this process within the group that shares its work; None if it works alone."""
    return group() if SHARES.get() else None


def leads() -> bool:
    """Whether this process reads and writes files for all that share its work, as the first does and one that works alone."""
    state = sharers()
    return state is None or state.is_main_process


@contextmanager
def exchange() -> Iterator[None]:
    """Exchange results inside a `with` block.

    Raises:
        UserError: if another process has ended; the launcher then ends this one too.
    """
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"Another process failed, or cannot be reached ({first_line(error)}); start all of them again."
        ) from error


def own(items: Iterable[Value]) -> Iterator[Value]:
    """This process's items: of k processes, process i takes the items i, i + k, i + 2k, …"""
    state = sharers()
    return islice(items, state.process_index, None, state.num_processes) if state else iter(items)


def gathered(values: "Sequence[Tensor]") -> "list[Tensor]":
    """What all processes made of their `own` items, in the order of the items, in each process; tensors of any shapes.

    Raises:
        UserError: if another process has ended.
    """
    state = sharers()
    if not state:
        return [*values]
    from accelerate.utils import gather_object

    with exchange():
        numbered = gather_object([*zip(count(state.process_index, state.num_processes), values, strict=False)])
    return [value for _, value in sorted(numbered, key=itemgetter(0))]


def total(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The sums of named tensors over all processes, the same in each; their names, shapes and types must agree.

    Raises:
        UserError: if another process has ended.
    """
    state = sharers()
    if not state:
        return dict(tensors)
    from accelerate.utils import reduce

    with exchange():  # numbers are sent as they lie in memory, which must be the same order everywhere
        return {name: reduce(value.contiguous().to(state.device), "sum").to(value.device) for name, value in tensors.items()}


def from_first(tensors: "Mapping[str, Tensor]", like: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The first process's named tensors, in all processes; none if it has none.

    Args:
        tensors: what the first process has, or nothing; of the others they are not read.
        like: tensors of the same names, shapes and types, in all processes.

    Raises:
        UserError: if another process has ended.
    """
    if not sharers():
        return dict(tensors)
    with exchange():
        found = agreed(bool(tensors))
    return (
        total({name: tensors[name] if leads() else value.new_zeros(value.shape) for name, value in like.items()})
        if found
        else {}
    )

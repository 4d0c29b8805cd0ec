"""Training in several processes, with `accelerate launch -m vdu pretrain …` or torchrun, which sets the same variables.

Every process draws the whole batch and computes the losses of its own rows; then the gradients are averaged, so that all take
the step that a single process would take. Only the first process writes, to a disk that all of them share. In a single
process these functions do nothing, and accelerate need not be installed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vdu.errors import UserError
from vdu.models import pick_device

if TYPE_CHECKING:
    from accelerate import PartialState

PATIENCE = timedelta(days=1)  # the default, 10 or 30 minutes, is less than the first process may need to train a judge


def group() -> "PartialState | None":
    """The state of this process within its group; None for a single process. The first call gives it its own GPU.

    Raises:
        UserError: if accelerate is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UserError("Training in several processes needs accelerate; install it with: pip install accelerate") from error
    return PartialState(cpu=pick_device("auto") == "cpu", timeout=PATIENCE)


def is_main() -> bool:
    """Whether this is the process that writes."""
    state = group()
    return state is None or state.is_main_process


def wait() -> None:
    """Return once all processes have called this."""
    if state := group():
        state.wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block, or a decorated function, in the first process, and afterwards in the others, which find its results."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def own_rows(*batch: Tensor) -> tuple[Tensor, ...]:
    """This process's rows of tensors (n, …), as tensors (n / processes, …).

    Raises:
        UserError: if n is no multiple of the number of processes.
    """
    state, count = group(), len(batch[0])
    if not state:
        return batch
    if count % state.num_processes:
        raise UserError(
            f"{state.num_processes} processes cannot share batches of {count}; start a number of them that divides {count}."
        )
    return tuple(part.chunk(state.num_processes)[state.process_index] for part in batch)


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, the same in each."""
    if not group():
        return value
    from accelerate.utils import reduce

    return reduce(value, "mean")


def average_gradients(network: nn.Module) -> None:
    """Replace the gradients by their means over all processes, in one message."""
    if not group():
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    means = mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def agreed(number: int) -> int:
    """The first process's `number`, in all processes."""
    if not group():
        return number
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([number])[0]


def leave() -> None:
    """Wait for all processes and leave the group."""
    if state := group():
        state.wait_for_everyone()
        state.destroy_process_group()

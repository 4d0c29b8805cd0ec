"""Training in several processes: `accelerate launch -m vdu pretrain …`, or torchrun, which sets the same environment.

Every process draws the whole batch and computes the losses of its own rows; then the gradients are averaged, so that all take
the step that one process would have taken. The first one alone writes, on a disk that all of them see. Nothing here does
anything in a process that is alone, and that one needs no accelerate.
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

PATIENCE = timedelta(days=1)  # the default is 10 or 30 minutes, and the first process may train a judge for longer than that


def group() -> "PartialState | None":
    """This process among its like, from the first call on with a GPU of its own as "cuda"; None if it is alone.

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
    """Whether this process is the one that writes."""
    state = group()
    return state is None or state.is_main_process


def wait() -> None:
    """Return when all processes have come here."""
    if state := group():
        state.wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """What is inside (or decorated) is done by the first process, and then by the others, who find it done."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def own_rows(*batch: Tensor) -> tuple[Tensor, ...]:
    """The rows of this process of tensors (n, …), each (n / processes, …).

    Raises:
        UserError: if the rows cannot be shared out evenly.
    """
    state, count = group(), len(batch[0])
    if not state:
        return batch
    if count % state.num_processes:
        raise UserError(f"{state.num_processes} processes cannot share batches of {count}; start a number that divides it.")
    return tuple(part.chunk(state.num_processes)[state.process_index] for part in batch)


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, the same in each."""
    if not group():
        return value
    from accelerate.utils import reduce

    return reduce(value, "mean")


def average_gradients(network: nn.Module) -> None:
    """Replace the gradients by their means over all processes, all in one message."""
    if not group():
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    means = mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def agreed(number: int) -> int:
    """What the first process calls with, in all of them."""
    if not group():
        return number
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([number])[0]


def leave() -> None:
    """Wait for all processes, and part."""
    if state := group():
        state.wait_for_everyone()
        state.destroy_process_group()

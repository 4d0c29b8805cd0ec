"""Diagonal Fisher information on the batches of a run, for methods that weigh every weight by it."""

from collections.abc import Generator, Iterator
from itertools import islice

import torch
from torch import Tensor

from vdu.events import Clock, Progress
from vdu.losses import Posterior
from vdu.methods.base import Batch
from vdu.posterior import from_information

BATCHES = 10  # over which the information is averaged


def information(batches: Iterator[Batch], *parts: str) -> Generator[Progress, None, list[dict[str, Tensor]]]:
    """Fisher information per image by parameter name, on the first `BATCHES` batches, for parts of a batch.

    The model is read as p(epsilon | x_t) = N(epsilon_theta(x_t, t), I), as in `posterior.fisher`.

    Args:
        batches: batches of an unchanged model.
        parts: some of "forget" and "replay"; one dictionary is returned for each.
    """
    totals: list[dict[str, Tensor]] = [{} for _ in parts]
    clock = Clock("prepare", BATCHES)
    for done, batch in enumerate(islice(batches, BATCHES), start=1):
        for total, part in zip(totals, parts, strict=True):
            images = getattr(batch, part)
            predicted = batch.model.predict_noise(images.states, images.t, images.condition)
            direction = torch.randn(predicted.shape, generator=batch.random).to(predicted.device)
            projected = (direction * predicted).sum()
            values = [*batch.parameters.values()]
            gradients = torch.autograd.grad(projected, values, allow_unused=True, materialize_grads=True)
            for name, gradient in zip(batch.parameters, gradients, strict=True):
                total[name] = total.get(name, 0) + gradient.square() / (len(predicted) * BATCHES)
        yield clock.progress(done)
    return totals


def posterior_of(batches: Iterator[Batch], part: str) -> Generator[Progress, None, Posterior]:
    """The Gaussian with precision F + damping around the weights as they are, as wide as those of `vdu.posterior`.

    See `posterior.from_information`. So the regularizer is a sum of the Fisher distance and of plain L2.

    Args:
        batches, part: see `information`.
    """
    batches = iter(batches)
    first = next(batches)
    mean = {name: value.detach().clone() for name, value in first.parameters.items()}
    (squares,) = yield from information(batches, part)
    return from_information(mean, squares)

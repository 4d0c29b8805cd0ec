"""What the sampler and a step take beyond the networks: both are run, and then the calls of the networks that they made.

The autoencoder that turns latents into images counts as a network.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from vdu.events import StepTaken
from vdu.models import Model
from vdu.optimizers import make_optimizer
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.run import Run
from vdu.sampling import image_seeds, run_to_end, sample
from vdu.steps import take_steps
from vdu.threads import map_side_by_side, worker_count

IMAGES, REPEATS = 125, 3  # of the sampler
STEPS, WARM = 15, 3  # timed steps, and steps before them
PREVIEW_EVERY = 500  # more than the steps: no preview is drawn in between


class Call(NamedTuple):
    """A call of a method of a model, whether a gradient was wanted, and the thread that made it."""

    method: Callable[..., Tensor]
    model: Model
    given: tuple[Any, ...]
    gradient: bool
    thread: int

    def again(self, model: Model | None = None) -> Tensor:
        """Make the same call, also of another model."""
        with torch.set_grad_enabled(self.gradient):
            return self.method(model or self.model, *self.given)


@contextmanager
def noted(kind: type[Model], *names: str) -> Iterator[list[Call]]:
    """The calls of some methods, of all models of a class, that are made in a `with` block."""
    calls: list[Call] = []

    def noting(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def note(model: Model, *given: Any) -> Tensor:
            calls.append(Call(method, model, given, torch.is_grad_enabled(), threading.get_ident()))
            return method(model, *given)

        return note

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(kind, name, noting(getattr(kind, name))))
        yield calls


def seconds_of(action: Callable[[], object]) -> float:
    """Wall-clock seconds of an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def sampler(run: Run, images: int = IMAGES, repeats: int = REPEATS) -> tuple[float, float]:
    """Seconds to draw images with the sampler of a recipe: bare networks, and all; medians of several times in turn."""
    concept = run.task.concept
    prompts = [spec.prompt for spec in concept.plan(images, concept.prompt_kinds)]

    def draw() -> None:
        run_to_end(sample(run.model, image_seeds(0, images), run.recipe.how, prompts))

    with noted(type(run.model), "predict", "decode") as calls:
        draw()
    times = [(seconds_of(lambda: call_all(calls)), seconds_of(draw)) for _ in range(repeats)]
    bare, whole = (statistics.median(column) for column in zip(*times, strict=True))
    return bare, whole


def by_thread(calls: list[Call]) -> list[list[Call]]:
    """The calls of each thread that made some."""
    return [[call for call in calls if call.thread == thread] for thread in dict.fromkeys(call.thread for call in calls)]


def call_all(calls: list[Call]) -> None:
    """Make some calls again, without gradients, in as many threads as made them."""
    groups = by_thread(calls)
    map_side_by_side(lambda group: [call.again() for call in group], groups, worker_count(calls[0].model.device))


def step(run: Run, steps: int = STEPS, warm: int = WARM) -> tuple[float, float]:
    """Seconds of a step: bare networks with their gradient and the optimizer, and all; medians of several steps in turn.

    Args:
        run: of a recipe of more than `steps` + `warm` steps, without previews in between; its model is changed.
        steps: to time; warm: steps before, which prepare what the others find.
    """
    frozen, bare = run.model.clone(), run.model.clone()
    run_to_end(run.task.judge.fit(frozen, run.recipe.how))
    run_to_end(run.task.read_pictures())
    run.replay = run_to_end(draw_replay(run.recipe, run.task.concept, run.task.judge, frozen))
    optimizer = make_optimizer(run.recipe.optimizer, bare.trained, run.posterior, run.recipe.step_size)
    taking, times = take_steps(run, frozen), []
    for _ in range(warm + steps):
        with noted(type(run.model), "predict") as calls:
            whole = seconds_of(lambda: next(event for event in taking if isinstance(event, StepTaken)))
        times.append((seconds_of(lambda: bare_step(calls, bare, optimizer)), whole))
    bare_seconds, whole_seconds = (statistics.median(column) for column in zip(*times[warm:], strict=True))
    return bare_seconds, whole_seconds


def bare_step(calls: list[Call], learner: Model, optimizer: torch.optim.Optimizer) -> None:
    """A step of a network that stands in for the one that learns, on the same batches; its loss is the simplest."""
    parameters = [*learner.trained.values()]

    def gradients_of(group: list[Call]) -> tuple[Tensor | None, ...]:
        answers = [call.again(learner if call.gradient else None) for call in group]
        loss = sum(answer.square().mean() for answer in answers if answer.requires_grad)
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    found = map_side_by_side(gradients_of, by_thread(calls), worker_count(learner.device))
    for parameter, *gradients in zip(parameters, *found, strict=True):
        known = [gradient for gradient in gradients if gradient is not None]
        parameter.grad = sum(known[1:], start=known[0]) if known else None
    optimizer.step()


def of_model(model: str, forget: str) -> dict[str, tuple[float, float]]:
    """Kernel -> seconds of its bare networks, and of all, in the default recipe."""
    recipe = Recipe(model=model, forget=forget, steps=STEPS + WARM + 1, preview_every=PREVIEW_EVERY)
    return {"sampler": sampler(Run(recipe)), "step": step(Run(recipe))}

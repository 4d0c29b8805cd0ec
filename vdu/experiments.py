"""Experiments on a finished run; none of them changes it."""

from collections.abc import Generator, Sequence
from pathlib import Path

from vdu.attacks import ORIGINAL, UNLEARNED, Attacked
from vdu.concepts.base import PromptSpec
from vdu.errors import UserError
from vdu.events import Event, Preview
from vdu.methods import METHODS
from vdu.models import Model
from vdu.run import Run
from vdu.samples import Samples, draw, draw_pristine
from vdu.sampling import Role, image_seeds
from vdu.scale import set_weights_between
from vdu.task import Task, open_task

IMAGES_PER_PROMPT = 8


def untouched(run: Run) -> Model:
    """A copy of the model that a run began with, on the device of the run's model."""
    return open_task(run.recipe, run.start, run.model.device).model


def go_further(run: Run, factor: float) -> Generator[Event, None, Preview]:
    """A preview of the model `factor` times as far from the untouched one as the run went (0: untouched, 1: the run's)."""
    model = untouched(run)
    model.train_only(run.recipe.parameters)
    set_weights_between(model, model, run.model, factor)
    drawn = yield from run.replay.draw_again("preview", model, run.replay.grid)
    return run.replay.preview(drawn, len(run.steps))


def try_prompt(run: Run, prompt: str) -> Generator[Event, None, tuple[Samples, Samples]]:
    """(before, after): samples of the untouched and of the unlearned model for any prompt, from the same seeds."""
    pristine = untouched(run)
    seeds = image_seeds(run.recipe.seed, IMAGES_PER_PROMPT, Role.STEER)
    specs = [PromptSpec(prompt=prompt)] * IMAGES_PER_PROMPT
    before = yield from draw_pristine("preview", pristine, run.task.judge, seeds, run.recipe.how, specs)
    return before, (yield from draw("preview", run.model, run.task.judge, seeds, run.recipe.how, specs))


def possible_counts(counts: Sequence[int], method: str, task: Task, instead: str) -> list[int]:
    """The numbers of real pictures that a method can be given, ascending: each of `counts`, but no more than there are.

    Raises:
        UserError: if there are no real pictures, when the sentence ends with `instead`; or if the method sees none.
    """
    if not METHODS[method].uses_forget_images:
        raise UserError(f"Method {method} sees no pictures, so their number changes nothing; choose another method.")
    if (real := task.forget_set()) is None:
        raise UserError(f"This model ships no real pictures; {instead}.")
    return sorted({min(count, len(real.images)) for count in counts})


def under_attack(run: Run, folder: Path) -> Attacked:
    """What attacks need of a finished run, whose unlearned model may have been written to a folder."""
    models = {ORIGINAL: untouched(run), UNLEARNED: run.model}
    return Attacked(run.task, models, run.recipe.seed, unlearned_folder=folder if folder.is_dir() else None)

"""What a finished run can still be asked; the run stays as it is."""

from collections.abc import Generator

from vdu.concepts.base import PromptSpec
from vdu.events import Event, Preview
from vdu.replay import GRID_SEED
from vdu.run import Run
from vdu.samples import Samples, draw, draw_pristine
from vdu.sampling import image_seeds
from vdu.scale import set_weights_between
from vdu.task import open_task

TRIED = 8  # images of a prompt that a visitor tries


def go_further(run: Run, factor: float) -> Generator[Event, None, Preview]:
    """What the model would draw had the run gone `factor` times as far from the frozen one."""
    model = open_task(run.recipe, run.start).model
    model.train_only(run.recipe.parameters)
    set_weights_between(model, model, run.model, factor)
    drawn = yield from run.replay.draw_again("preview", model, run.replay.grid)
    return run.replay.preview(drawn, len(run.steps))


def try_prompt(run: Run, prompt: str) -> Generator[Event, None, tuple[Samples, Samples]]:
    """What the untouched model and the run's model draw for any prompt, from the same `TRIED` seeds."""
    pristine = open_task(run.recipe, run.start).model
    seeds, specs = image_seeds(GRID_SEED + run.recipe.seed, TRIED), [PromptSpec(prompt=prompt)] * TRIED
    before = yield from draw_pristine("preview", pristine, run.task.judge, seeds, run.recipe.how, specs)
    return before, (yield from draw("preview", run.model, run.task.judge, seeds, run.recipe.how, specs))

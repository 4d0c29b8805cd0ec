"""Measure a model that no run has changed: any model, or a gold one, which never saw the concept, beside unlearned ones."""

from collections.abc import Generator

from vdu.errors import UserError
from vdu.events import Progress
from vdu.metrics import Figures
from vdu.models import Model
from vdu.samples import draw_pristine
from vdu.sampling import image_seeds
from vdu.task import Task, open_model


def evaluate(task: Task, model: Model) -> Generator[Progress, None, Figures]:
    """The figures of a model by a task's judge, from the seeds and prompts with which a run of its recipe measures.

    Args:
        task: its judge is fitted first, if it has to be, on its own model.
        model: the model to measure: the task's, or another that draws the same kind of images.
    """
    recipe, concept = task.recipe, task.concept
    yield from task.judge.fit(task.model, recipe.how)
    specs, seeds = concept.plan(recipe.samples, concept.prompt_kinds), image_seeds(recipe.seed, recipe.samples)
    return task.measure((yield from draw_pristine("sample", model, task.judge, seeds, recipe.how, specs)))


def open_alike(name: str, task: Task) -> Model:
    """A model that draws the same kind of images as a task's model does.

    Args:
        name: folder, catalog name or hub id.

    Raises:
        UserError: if there is no such model, or it draws other images.
    """
    model, of = open_model(name, task.model.device)[0], task.model
    if (model.shape, model.image_shape, model.takes_prompts) != (of.shape, of.image_shape, of.takes_prompts):
        raise UserError(
            f"'{name}' and {task.recipe.model} do not draw the same kind of images; give a model of the same kind."
        )
    return model

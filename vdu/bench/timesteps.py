"""The timesteps at which a model decides on the class of an image: `python -m vdu bench timesteps`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from vdu.bench.tables import load_charts, read_rows, save, write_rows
from vdu.data.forget_set import real_images
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.models import from_uint8
from vdu.recipe import Recipe
from vdu.sampling import image_seeds, run_to_end, sample, timestep_grid
from vdu.task import classes_of, open_task


def timesteps(model: str, images: int, target: Path, show: Callable[[str], None], picture: Path | None = None) -> None:
    """Noise real images of every class to each timestep of the sampler, let the model denoise them, and judge the results.

    At timesteps from which nearly all images come back as the same class, x_t still shows the class, and the model only
    renders it. At timesteps from which they come back as any class, x_t no longer shows it. In between the class is decided.

    Args:
        model: a catalog name or folder.
        images: number of images per class.
        target: JSON file to write, one row per timestep.
        show: called with one line per timestep.
        picture: PNG to draw, if given.
    """
    charts = load_charts(picture) if picture else None
    read_rows(target, "same_class")  # fails if the file is something else
    task = open_task(Recipe(model=model, forget=classes_of(model)[0]))
    if task.concept.takes_prompts:
        raise UserError(f"'{model}' takes prompts, which say the class at every timestep; choose a model that takes none.")
    network, recipe, concept = task.model, task.recipe, task.concept
    sets = (real_images(task.source, replace(concept, forget=name), model) for name in concept.classes)
    clean = torch.cat([run_to_end(found)[:images] for found in sets])
    truth = torch.arange(len(concept.classes)).repeat_interleave(images)
    rows = []
    for skip, t in enumerate(timestep_grid(recipe.sampler_steps, network.first_timestep)):
        seeds = image_seeds(skip, len(clean))
        stream = sample(network, seeds, recipe.how, clean=from_uint8(clean), skip=skip)
        probabilities, _ = task.judge.judge(run_to_end(stream))
        same = int((probabilities.argmax(1) == truth).sum())
        rows.append(
            {"t": t, "images": len(clean), "same_class": same / len(clean), "same_class_ci95": wilson(same, len(clean))}
        )
        show(f"t = {t:3d}: {same / len(clean):6.1%} of {len(clean)} images come back as the same class")
    write_rows(rows, target)
    if charts:
        save(charts.class_memory(rows, (recipe.t_min, recipe.t_max)), picture)

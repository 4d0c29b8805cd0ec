"""Where a model decides on the class of an image: `python -m vdu bench timesteps`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from vdu.bench.tables import load_charts, read_rows, save
from vdu.data.forget_set import real_images
from vdu.intervals import wilson
from vdu.models import from_uint8
from vdu.recipe import Recipe
from vdu.sampling import image_seeds, run_to_end, sample, timestep_grid
from vdu.task import classes_of, open_task


def timesteps(model: str, images: int, target: Path, show: Callable[[str], None], picture: Path | None = None) -> None:
    """Noise real images of every class to each timestep of the sampler, let the model draw on, and see what comes back.

    Where nearly all come back as the same class, x_t still says what it is, and there is nothing to forget by: the model only
    renders it. Where they come back as anything, x_t says nothing yet. In between the class is decided.

    Args:
        model: a catalog name or folder.
        images: of each class.
        target: JSON to write: one row a timestep.
        show: called with a line a timestep.
        picture: PNG to draw.
    """
    charts = load_charts() if picture else None
    read_rows(target, "same_class")  # refuses to write over something else
    task = open_task(Recipe(model=model, forget=classes_of(model)[0]))
    network, recipe, concept = task.model, task.recipe, task.concept
    clean = torch.cat([real_images(task.source, replace(concept, forget=name), model)[:images] for name in concept.classes])
    truth = torch.arange(len(concept.classes)).repeat_interleave(images)
    rows = []
    for skip, t in enumerate(timestep_grid(recipe.sampler_steps, len(network.alpha_bar))):
        seeds = image_seeds(skip, len(clean))
        stream = sample(network, seeds, recipe.how, clean=from_uint8(clean), skip=skip)
        probabilities, _ = task.judge.judge(run_to_end(stream))
        same = int((probabilities.argmax(1) == truth).sum())
        rows.append(
            {"t": t, "images": len(clean), "same_class": same / len(clean), "same_class_ci95": wilson(same, len(clean))}
        )
        show(f"t = {t:3d}: {same / len(clean):6.1%} of {len(clean)} images come back as the same class")
    target.write_text(json.dumps(rows, indent=1) + "\n")
    if charts:
        save(charts.class_memory(rows, (recipe.t_min, recipe.t_max)), picture)

"""Images that the shipped models draw before any change ship with them, so that a first run need not draw them.

They are the measured images and the images that steer a run, of the default seed. For a model that takes prompts, they are
for one thing to forget, since every other one has other prompts. `python -m vdu.untouched MODEL` draws them: once on a
processor with native bfloat16 and once on one without, since the images, and now and then their class, differ.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from vdu.assets import ASSETS
from vdu.data.sheets import SHEET_COLUMNS, read_sheet, write_sheet
from vdu.models import Model, has_bfloat16
from vdu.models.digest import digest_of
from vdu.sampling import HowToSample, Role, image_seeds, run_to_end, sample
from vdu.stock import STOCK, draw_plain, plain_pipeline

FOLDER, LIST = "untouched", "untouched.json"
STOCK_FOLDER, STOCK_IMAGES = "stock", 50  # what plain diffusers draws, and how many images with each sampler
SEED, MEASURED = 0, 1000  # the default seed of a recipe; how many measured images ship


def shipped_images(model: Model, seeds: Sequence[int], how: HowToSample, prompts: Sequence[str | None]) -> Tensor | None:
    """The images of some seeds, uint8 (n, c, h, w), if they ship with the model; else None.

    They ship for the first seeds of a role, for processors with and without native bfloat16, and not for GPUs.
    """
    if model.device != "cpu" or model.folder is None or model.folder.parent != ASSETS.resolve():
        return None
    folder = model.folder / FOLDER / precision()
    if not (folder / LIST).is_file():
        return None
    listed = json.loads((folder / LIST).read_text())
    if listed["made_by"] != maker(model, how):
        return None
    for role, known in listed["prompts"].items():
        first = image_seeds(SEED, len(known), Role(role))[: len(seeds)]
        if [*seeds] == first and [*prompts] == known[: len(seeds)]:
            return images_in(folder / f"{role}.png", model.image_shape)[: len(seeds)]
    return None


def maker(model: Model, how: HowToSample) -> dict[str, Any]:
    """All that the images depend on but for seeds and prompts; what is trained, and so held in float32, rounds differently."""
    return {"model": model.digest, "trained": digest_of(model.trained), **dataclasses.asdict(how)}


def shipped_stock(model: Model, where: Path, sampler: str, seeds: Sequence[int]) -> Tensor | None:
    """The images of some seeds by a sampler of `stock.STOCK` in float32, uint8 (n, c, h, w), if they ship; else None.

    They ship for the first seeds of a model without prompts.

    Args:
        model: the model; where: the folder that diffusers loads it from, which is not that of `model` once it is unlearned.
        sampler: a key of `STOCK`; seeds: n, one per image.
    """
    if model.device != "cpu" or where.resolve().parent != ASSETS.resolve():
        return None
    folder = where / FOLDER / STOCK_FOLDER
    if not (folder / LIST).is_file() or len(seeds) > STOCK_IMAGES or [*seeds] != image_seeds(SEED, len(seeds)):
        return None
    listed = json.loads((folder / LIST).read_text())
    if listed["model"] != model.digest or listed["samplers"].get(sampler) != [*STOCK[sampler]]:
        return None
    return images_in(folder / f"{sampler}.png", model.image_shape)[: len(seeds)]


@lru_cache(maxsize=8)
def images_in(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """The images on a sheet, read once."""
    return read_sheet(path, shape)


def precision() -> str:
    """The folder for this processor."""
    return "bfloat16" if has_bfloat16("cpu") else "float32"


def make(name: str, forget: str) -> Path:
    """Draw the images of a catalog model, and write them where `shipped_images` finds them; returns the folder."""
    from vdu.recipe import Recipe
    from vdu.run import Run

    run = Run(Recipe(model=name, forget=forget, seed=SEED, device="cpu"))
    concept, how = run.task.concept, run.recipe.how
    replayed = -(-run.recipe.replay // SHEET_COLUMNS) * SHEET_COLUMNS
    plans = {
        Role.MEASURE: concept.plan(MEASURED, concept.prompt_kinds),
        Role.STEER: concept.plan(replayed),
    }
    folder = ASSETS / name / FOLDER / precision()
    folder.mkdir(parents=True, exist_ok=True)
    for role, specs in plans.items():
        seeds = image_seeds(SEED, len(specs), role)
        images = run_to_end(sample(run.model, seeds, how, [spec.prompt for spec in specs]))
        write_sheet(images, folder / f"{role}.png")
    listed = {
        "made_by": maker(run.model, how),
        "prompts": {role: [spec.prompt for spec in specs] for role, specs in plans.items()},
    }
    (folder / LIST).write_text(json.dumps(listed) + "\n")
    return folder


def make_stock(name: str) -> Path:
    """Draw the images of a catalog model without prompts by stock samplers, for `shipped_stock`; returns the folder."""
    from vdu.attacks.elsewhere import SAMPLERS
    from vdu.task import open_model

    model, where, _ = open_model(name, "cpu")
    folder, pipeline = where / FOLDER / STOCK_FOLDER, plain_pipeline(where, model.variant)
    folder.mkdir(parents=True, exist_ok=True)
    for sampler in SAMPLERS:
        images = run_to_end(draw_plain(pipeline, sampler, image_seeds(SEED, STOCK_IMAGES), model.shape))
        write_sheet(images, folder / f"{sampler}.png")
    listed = {"model": model.digest, "samplers": {sampler: STOCK[sampler] for sampler in SAMPLERS}}
    (folder / LIST).write_text(json.dumps(listed) + "\n")
    return folder


if __name__ == "__main__":
    from vdu.catalog import CATALOG

    for name in sys.argv[1:]:
        print(make(name, json.loads((CATALOG[name].folder / "example" / "report.json").read_text())["forget"]))
        if not CATALOG[name].takes_prompts:
            print(make_stock(name))

"""Does the model finish a real picture of the concept that is hidden under noise, as the original does?"""

from collections.abc import Generator
from dataclasses import replace

from vdu.attacks.base import (
    ORIGINAL,
    UNLEARNED,
    Attack,
    Attacked,
    Meter,
    Result,
    Row,
    and_list,
    at_model,
    no_pictures,
    pictures_of_it,
    strip,
)
from vdu.concepts.base import TARGET
from vdu.events import Progress
from vdu.sampling import timestep_grid

SKIPS = (2, 3, 4, 5)  # sampler steps left out at the start, of `FEW_STEPS`


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Noise pictures to several timesteps, let every model finish them, and count the images that show the concept.

    With prompts, a model is given the pictures' captions.
    """
    found = yield from pictures_of_it(attacked.task, attacked.images)
    numbers = [number % len(found.images) for number in range(attacked.images)]
    pictures, steps = found.rows(numbers), attacked.how.steps
    specs = attacked.specs((TARGET,), attacked.images)
    if pictures.captions:
        specs = [replace(spec, prompt=caption) for spec, caption in zip(specs, pictures.captions, strict=True)]
    skips = [skip for skip in SKIPS if skip < steps] or [steps - 1]
    grid = timestep_grid(steps, attacked.models[ORIGINAL].first_timestep)
    meter = Meter(len(attacked.models) * attacked.images * sum(steps - skip for skip in skips))
    rows, strips = [], [strip("pictures", "noised", pictures.images, attacked.shown(pictures.images))]
    for name, model in attacked.models.items():
        clean = model.encode(pictures.images)
        for skip in reversed(skips):
            images = yield from meter.draw(model, attacked, specs, clean=clean, skip=skip)
            shown = attacked.shown(images)
            rows.append(Row.rate(name, "", grid[skip], shown, numbers))
            strips.append(strip(name, f"t = {grid[skip]}", images, shown))
    return Result(rows, strips, in_words(attacked, rows))


def in_words(attacked: Attacked, rows: list[Row]) -> str:
    """What the models finish at the timestep at which the original and the unlearned one differ most."""
    at = {(row.model, row.at): row for row in rows}
    t = max({row.at for row in rows}, key=lambda t: (at[ORIGINAL, t].value - at[UNLEARNED, t].value, -t))
    parts = [f"{at_model(name)} finishes {at[name, t].words()}" for name in attacked.models]
    return f"Of pictures of {attacked.concept} under noise (t = {t:.0f}), {and_list(parts)} as one."


ATTACK = Attack(
    title="Finishing a picture",
    question="Pictures of the concept are hidden under noise, and every model finishes them. A model that does not know the "
    "concept makes something else of them as soon as the noise leaves it a choice.",
    over=("t", "t to which the pictures are noised"),
    figure=("finished_rate", "finished as it, %"),
    settings={"skips": SKIPS},
    misfit=no_pictures,
    carry_out=carry_out,
)

"""Does the unlearned folder draw the concept in other hands: in plain diffusers, with its samplers and usual guidances?"""

from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from vdu.attacks.base import ORIGINAL, UNLEARNED, Attack, Attacked, Meter, Result, Row, and_list, at_model, strip
from vdu.attacks.words import Hits, rate_words, suffers, thing
from vdu.concepts.base import KEPT, TARGET
from vdu.events import Progress
from vdu.models import FULL_SIZE
from vdu.samples import Samples
from vdu.sampling import image_seeds
from vdu.stock import STOCK, draw_plain, half_precision, name_of, plain_pipeline
from vdu.task import kind_of
from vdu.untouched import shipped_stock

SAMPLERS = ("Euler", "DPM++ 2M", "UniPC")  # of `STOCK`, those of fewest steps
GUIDANCES = (1.0, 3.0, 7.5, 12.0)  # for models with prompts
HALF = ("Euler", 7.5)  # sampler and guidance in half precision, in which many load a model


def misfit(attacked: Attacked) -> str:
    """Folders are needed that diffusers loads, and a model that draws in seconds."""
    if kind_of(attacked.task.recipe.model) == FULL_SIZE:
        return "A full-size model takes too long to draw with so many samplers."
    model = attacked.task.model
    if not model.takes_prompts and model.shape != model.image_shape:
        return f"{attacked.task.recipe.model} draws latents, which stock samplers do not decode."
    return "" if all(attacked.folders.values()) else "The unlearned model lies in no folder that diffusers could load."


def counts_of(attacked: Attacked) -> dict:
    """Kind of prompt -> how many images of it each sampler draws at each guidance: of the concept half of what is usual."""
    target = {TARGET: max(1, attacked.images // 2)}
    return target | {KEPT: attacked.images} if attacked.task.concept.takes_prompts else target


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Load every folder with diffusers, draw with every sampler and guidance, and count the images that show the concept.

    The folders are drawn once more in half precision, with one sampler at one guidance, where the device computes it natively.
    """
    concept, counts, device = attacked.task.concept, counts_of(attacked), attacked.task.model.device
    guidances = {f"guidance {value:g}": value for value in GUIDANCES} if concept.takes_prompts else {"": 1.0}
    half = half_precision(device)
    steps = sum(STOCK[sampler][1] for sampler in SAMPLERS) * len(guidances) * sum(counts.values())
    meter = Meter(len(attacked.models) * (steps + (STOCK[HALF[0]][1] * counts[TARGET] if half else 0)))
    rows, strips, hits = [], [], defaultdict(Hits)

    def draw(name: str, pipeline: Any, sampler: str, guidance: float, kind: str) -> Generator[Progress, None, Samples]:
        specs, model = attacked.specs((kind,), counts[kind]), attacked.models[name]
        seeds, shipped = image_seeds(attacked.seed, len(specs)), None
        prompts = [spec.prompt for spec in specs] if concept.takes_prompts else None
        if prompts is None and pipeline.unet.dtype == torch.float32:
            shipped = shipped_stock(model, Path(attacked.folders[name]), sampler, seeds)
        if shipped is None:
            return attacked.samples(
                (yield from meter.follow(draw_plain(pipeline, sampler, seeds, model.shape, prompts, guidance))), specs
            )
        yield meter.add(STOCK[sampler][1] * len(seeds))
        return attacked.samples(shipped, specs)

    def look(name: str, place: str, series: str, drawn: Samples) -> None:
        shown = drawn.showing(concept.class_sets)
        rows.append(Row.rate(name, series, place, shown))
        strips.append(strip(name, ", ".join(filter(None, (place, series))), drawn.images, shown))

    for name, model in attacked.models.items():
        folder = Path(attacked.folders[name])
        pipeline = plain_pipeline(folder, model.variant, device)
        for sampler in SAMPLERS:
            for series, guidance in guidances.items():
                for kind in counts:
                    drawn = yield from draw(name, pipeline, sampler, guidance, kind)
                    if kind == TARGET:
                        look(name, sampler, series, drawn)
                        continue
                    for seed, (spec, hit) in enumerate(zip(drawn.specs, drawn.right.all(1).tolist(), strict=True)):
                        hits[name].add(thing(attacked, spec.classes), seed, hit)
        if half:
            sampler, guidance = HALF
            drawn = yield from draw(name, plain_pipeline(folder, model.variant, device, half), sampler, guidance, TARGET)
            look(name, f"{sampler}, {name_of(half)}", f"guidance {guidance:g}" if concept.takes_prompts else "", drawn)
    kept = {name: found.rates() for name, found in hits.items()}
    overall = {name: found.overall() for name, found in hits.items()}
    more = {"half_precision": half and name_of(half)} | ({"kept": kept, "kept_overall": overall} if kept else {})
    return Result(rows, strips, in_words(attacked, rows, kept, overall), more)


def in_words(attacked: Attacked, rows: list[Row], kept: dict[str, dict[str, dict]], overall: dict[str, dict]) -> str:
    """The sampler and guidance with which the unlearned folder draws the concept most often; what is kept, and what worst."""
    most = max((row for row in rows if row.model == UNLEARNED), key=lambda row: row.value)
    same = [next(row for row in rows if (row.model, row.series, row.at) == (name, most.series, most.at)).words()
            + f" by {at_model(name)}" for name in attacked.models]  # fmt: skip
    place = ", ".join(filter(None, (str(most.at), most.series)))
    words = f"In plain diffusers, with the sampler that brings it back most ({place}), {attacked.concept} is drawn in"
    if not kept:
        return f"{words} {and_list(same)}."
    was, now = (rate_words(overall[name]) for name in (ORIGINAL, UNLEARNED))
    return f"{words} {and_list(same)}. All that is kept is drawn rightly in {was} before, in {now} now. {suffers(kept)}"


ATTACK = Attack(
    title="In other hands",
    question="The folders are loaded with plain diffusers and drawn with its own samplers, as somebody else would who "
    "downloads them; where there are prompts, with the usual guidances too, and once in half precision.",
    over=("sampler", "sampler"),
    figure=("forget_rate", "forget rate, %"),
    settings={"samplers": {name: STOCK[name] for name in SAMPLERS}, "guidances": GUIDANCES, "half": HALF},
    misfit=misfit,
    carry_out=carry_out,
)

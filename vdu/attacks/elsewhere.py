"""Does the unlearned folder draw the concept in other hands: in plain diffusers, with its samplers and usual guidances?"""

from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

from vdu.attacks.base import ORIGINAL, UNLEARNED, Attack, Attacked, Meter, Result, Row, and_list, at_model, strip
from vdu.attacks.words import pooled, rate_words, right, suffers, thing
from vdu.concepts.base import KEPT, TARGET
from vdu.events import Progress
from vdu.models import FULL_SIZE
from vdu.sampling import image_seeds
from vdu.stock import STOCK, draw_plain, plain_pipeline
from vdu.task import kind_of

SAMPLERS = ("Euler", "DPM++ 2M", "UniPC")  # of `STOCK`, those of fewest steps
GUIDANCES = (1.0, 3.0, 7.5, 12.0)  # for models with prompts


def misfit(attacked: Attacked) -> str:
    """Folders are needed that diffusers loads, and a model that draws in seconds."""
    if kind_of(attacked.task.recipe.model) == FULL_SIZE:
        return "A full-size model takes too long to draw with so many samplers."
    model = attacked.task.model
    if not model.takes_prompts and model.shape != model.image_shape:
        return f"{attacked.task.recipe.model} draws latents, which stock samplers do not decode."
    return "" if all(attacked.folders.values()) else "The unlearned model lies in no folder that diffusers could load."


def counts_of(attacked: Attacked) -> dict:
    """Kind of prompt -> how many images of it each sampler draws at each guidance: two thirds of what is usual.

    With prompts, half as many of the concept, as it is drawn at every guidance.
    """
    count = max(2, 2 * attacked.images // 3)
    return {TARGET: count // 2, KEPT: count} if attacked.task.concept.takes_prompts else {TARGET: count}


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Load every folder with diffusers, draw with every sampler and guidance, and count the images that show the concept."""
    concept, counts = attacked.task.concept, counts_of(attacked)
    guidances = {f"guidance {value:g}": value for value in GUIDANCES} if concept.takes_prompts else {"": 1.0}
    steps = sum(STOCK[sampler][1] for sampler in SAMPLERS) * len(guidances)
    meter = Meter(len(attacked.models) * steps * sum(counts.values()))
    rows, strips, hits = [], [], defaultdict(lambda: defaultdict(list))
    for name, model in attacked.models.items():
        pipeline = plain_pipeline(Path(attacked.folders[name]), model.variant, model.device)
        for sampler in SAMPLERS:
            for series, guidance in guidances.items():
                for kind, count in counts.items():
                    specs, seeds = attacked.specs((kind,), count), image_seeds(attacked.seed, count)
                    prompts = [spec.prompt for spec in specs] if concept.takes_prompts else None
                    stream = draw_plain(pipeline, sampler, seeds, model.shape, prompts, guidance)
                    drawn = attacked.samples((yield from meter.follow(stream)), specs)
                    if kind == KEPT:
                        for spec, hit in zip(specs, right(drawn).tolist(), strict=True):
                            hits[name][thing(attacked, spec.classes)].append(hit)
                        continue
                    shown = drawn.showing(concept.class_sets)
                    rows.append(Row.rate(name, series, sampler, shown))
                    strips.append(strip(name, ", ".join(filter(None, (sampler, series))), drawn.images, shown))
    kept = {name: pooled(found) for name, found in hits.items()}
    overall = pooled({name: [hit for things in found.values() for hit in things] for name, found in hits.items()})
    more = {"kept": kept, "kept_overall": overall} if kept else {}
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
    "downloads them; where there are prompts, with the usual guidances too.",
    over=("sampler", "sampler"),
    figure=("forget_rate", "forget rate, %"),
    settings={"samplers": {name: STOCK[name] for name in SAMPLERS}, "guidances": GUIDANCES},
    misfit=misfit,
    carry_out=carry_out,
)

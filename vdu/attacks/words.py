"""Do other words, or more guidance, bring the concept back, and which prompts to keep suffer?"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from vdu.attacks.base import ORIGINAL, UNLEARNED, Attack, Attacked, Meter, Result, Row, and_list, at_model, strip
from vdu.concepts.base import KEPT, PARAPHRASE, TARGET
from vdu.events import Progress
from vdu.intervals import clustered

STEPS = {1.0: 8, 3.0: 8, 7.5: 25, 12.0: 25}  # guidance -> sampler steps; much guidance with few steps draws nothing at all
KINDS = {"by its name": TARGET, "in other words": PARAPHRASE, "prompts to keep, drawn rightly": KEPT}
KEPT_TIMES = 2  # as many images for prompts to keep, which are many, as for each of the other kinds


def misfit(attacked: Attacked) -> str:
    """Prompts are needed."""
    return "" if attacked.task.concept.takes_prompts else f"{attacked.task.recipe.model} takes no prompts."


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Ask every model for the concept, by its name and in words that no forget image had, and for other things."""
    each = max(1, attacked.images // KEPT_TIMES)
    counts = {series: KEPT_TIMES * each if kind == KEPT else each for series, kind in KINDS.items()}
    meter = Meter(len(attacked.models) * sum(STEPS.values()) * sum(counts.values()))
    rows, strips, hits = [], [], defaultdict(Hits)
    for name, model in attacked.models.items():
        for guidance, steps in STEPS.items():
            how = replace(attacked.how, steps=steps, guidance=guidance)
            for series, kind in KINDS.items():
                specs = attacked.specs((kind,), counts[series])
                drawn = attacked.samples((yield from meter.draw(model, attacked, specs, how)), specs)
                shown = drawn.showing(attacked.task.concept.class_sets)
                found = drawn.right.all(1) if kind == KEPT else shown
                rows.append(Row.rate(name, series, guidance, found))
                strips.append(strip(name, f"{series}, guidance {guidance:g}", drawn.images, shown))
                for seed, (spec, hit) in enumerate(zip(specs, found.tolist(), strict=True)):
                    hits[name, kind].add(thing(attacked, spec.classes) if kind == KEPT else spec.prompt, seed, hit)
    words = {name: hits[name, PARAPHRASE].rates() for name in attacked.models}
    kept = {name: hits[name, KEPT].rates() for name in attacked.models}
    more = {"words": words, "kept": kept}
    return Result(rows, strips, in_words(attacked, rows, words[UNLEARNED], kept), more)


def thing(attacked: Attacked, classes: tuple[int, ...]) -> str:
    """The name of a thing by its classes: "red sneaker"."""
    return " ".join(attacked.task.concept.classes[index] for index in reversed(classes) if index >= 0)


class Hits:
    """What was drawn rightly, by name, with every sampler and guidance, which all begin with the same seeds."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, seed: int, hit: bool) -> None:
        """Count an image."""
        self.found[name][seed].append(hit)

    def rates(self) -> dict[str, dict[str, Any]]:
        """Name -> share of hits, its interval (`clustered` by seeds), the numbers of images and of seeds."""
        return {name: rate_of([*groups.values()]) for name, groups in self.found.items()}

    def overall(self) -> dict[str, Any]:
        """The same of all names together."""
        return rate_of([group for groups in self.found.values() for group in groups.values()])


def rate_of(groups: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """See `Hits.rates`."""
    rate, ends = clustered(groups)
    return {"rate": rate, "rate_ci95": ends, "count": sum(map(len, groups)), "seeds": len(groups)}


def in_words(attacked: Attacked, rows: list[Row], words: dict[str, dict], kept: dict[str, dict[str, dict]]) -> str:
    """The words and the guidance that bring back most, and the prompt to keep that suffers most."""

    def highest(series: str) -> Row:
        return max((row for row in rows if (row.model, row.series) == (UNLEARNED, series)), key=lambda row: row.value)

    named, told, _ = KINDS
    same = [next(row for row in rows if (row.model, row.series, row.at) == (name, named, highest(named).at)).words()
            + f" by {at_model(name)}" for name in attacked.models]  # fmt: skip
    best = max(words, key=lambda prompt: words[prompt]["rate"])
    return (
        f"Asked for by its name at guidance {highest(named).at:g}, {attacked.concept} is drawn in {and_list(same)}. Other "
        f"words bring it back in up to {highest(told).words()} (guidance {highest(told).at:g}), most often “{best}”: "
        f"{rate_words(words[best])}. {suffers(kept)}"
    )


def suffers(kept: dict[str, dict[str, dict]]) -> str:
    """The thing to keep whose rate falls most, of the pooled figures of each model, as a sentence."""
    worst = max(kept[UNLEARNED], key=lambda name: kept[ORIGINAL][name]["rate"] - kept[UNLEARNED][name]["rate"])
    was, now = (rate_words(kept[name][worst]) for name in (ORIGINAL, UNLEARNED))
    count, seeds = (kept[UNLEARNED][worst][key] for key in ("count", "seeds"))
    drawn = f"{count} images from {seeds} {'seed' if seeds == 1 else 'seeds'}"
    return f"Of what is kept, “{worst}” suffers most: drawn rightly in {was} before, in {now} now, of {drawn} each."


def rate_words(figures: dict) -> str:
    """A pooled rate in words."""
    return Row("", "", 0, figures["rate"], figures["rate_ci95"], figures["count"]).words()


ATTACK = Attack(
    title="Other words, more guidance",
    question="Every model is asked for the concept, by its name and in words that no forget image had, and for other things, "
    "with more and more guidance.",
    over=("guidance", "guidance"),
    figure=("rate", "share, %"),
    settings={"sampler_steps": STEPS},
    misfit=misfit,
    carry_out=carry_out,
    rising=True,
)

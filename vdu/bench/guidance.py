"""`python -m vdu bench guidance`: a word is forgotten at the run's guidance; is it gone at another one, and the rest there?

IRA and CRA are means over all prompts, in which a single thing that breaks hardly shows. So every thing that the model draws
is asked for equally often, and counted by itself.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vdu.bench.tables import Row, check_requests, pooled_rate, read_rows, run_recipe, table, write_rows
from vdu.catalog import CATALOG
from vdu.concepts.attributes import AttributeConcept
from vdu.concepts.base import KEPT, TARGET, PromptSpec
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.recipe import Recipe, resolve
from vdu.samples import Samples, draw, draw_pristine
from vdu.sampling import HowToSample, image_seeds, run_to_end
from vdu.task import Task, kind_of, open_model

KEPT_BAR = 0.8  # least share of its rate before that a kept thing should keep
STEPS = 25  # of the sampler; much guidance with few steps draws nothing at all
SAMPLES = 50  # that the run itself draws before and after: its own figures are not used
HEAD = ("forget", "n", "forget rate before", "after [95 %]", "IRA before → after", "CRA before → after",
        "the worst kept thing: rightly before → after [95 %]", f"kept things below {KEPT_BAR:g}")  # fmt: skip


def at_guidance(
    scale: float,
    model: str,
    forgets: Sequence[str],
    seed: int,
    images: int,
    target: Path,
    show: Callable[[str], object],
    changes: dict[str, Any] | None = None,
) -> None:
    """Forget each word by the default recipe, then draw every thing at a guidance; print a table, write its rows as JSON.

    Rows already in `target` are reused.

    Args:
        scale: the guidance, >= 1.
        images: per thing and model.
        show: called with one line per word.
        changes: to the default recipe.

    Raises:
        UserError: before anything is computed, if the model takes no prompts or does not ship, if it cannot forget one of the
            words, or if `target` is no such table.
    """
    if model not in CATALOG or not CATALOG[model].takes_prompts:
        raise UserError(f"'{model}' is no shipped model that takes prompts; choose tiny-sd or cifar10-sd.")
    known, rows, how = read_rows(target), [], HowToSample(STEPS, "ode", scale)
    check_requests(model, forgets)
    for forget in forgets:
        values = {"model": model, "forget": forget, "seed": seed, "samples": SAMPLES} | (changes or {})
        recipe = resolve(Recipe.from_dict(values), kind_of(model))
        asked = {"recipe": recipe.to_dict(), "images": images, "at": scale}
        row = next((row for row in known if row | asked == row), None)
        if row is None:
            run = run_recipe(recipe)
            specs, judge = specs_of(run.task.concept, images), run.task.judge
            seeds, untouched = image_seeds(seed, len(specs)), open_model(model, run.model.device)[0]
            before = run_to_end(draw_pristine("sample", untouched, judge, seeds, how, specs))
            after = run_to_end(draw("sample", run.model, judge, seeds, how, specs))
            known.append(row := {**asked, "forget": forget, **compare(run.task, before, after)})
            write_rows(known, target)
        show(f"{forget} at guidance {scale:g}: {row['forget_rate']:.1%} left, {row['below']} of {row['kept']} things suffer")
        rows.append(row)
    print(summary(rows))


def specs_of(concept: AttributeConcept, images: int) -> list[PromptSpec]:
    """`images` specs of every thing, in one phrase; all but the kind is the same for every concept of the model."""
    specs = []
    for thing, prompt in zip(concept.things, concept.prompts, strict=True):
        classes = tuple(concept.classes.index(name) for name in thing.values())
        specs.append(PromptSpec(KEPT, prompt, classes))
    return specs * images


def for_concept(concept: AttributeConcept, samples: Samples) -> Samples:
    """The same samples, with prompts for the concept as `TARGET`."""
    sets = [{*classes} for classes in concept.class_sets]
    asks = [any(classes <= {*spec.classes} for classes in sets) for spec in samples.specs]
    return replace(samples, specs=tuple(replace(spec, kind=TARGET) if asked else spec
                                        for spec, asked in zip(samples.specs, asks, strict=True)))  # fmt: skip


def compare(task: Task, before: Samples, after: Samples) -> Row:
    """Figures of the concept and of what is kept, before and after, and the kept thing that keeps the least share of its rate.

    Of that thing: [rightly drawn, drawn]. All is empty if the untouched model draws no kept thing rightly.
    """
    figures: Row = {}
    kept: dict[str, dict[str, list[int]]] = {}
    for suffix, samples in (("_before", for_concept(task.concept, before)), ("", for_concept(task.concept, after))):
        found = task.measure(samples)
        figures |= {f"{name}{suffix}": found.get(name) for name in ("forget_rate", "target_samples", "ira", "cra")}
        for spec, hit in zip(samples.specs, samples.right.all(1).tolist(), strict=True):
            if spec.kind == KEPT:
                counts = kept.setdefault(spec.prompt, {}).setdefault(suffix, [0, 0])
                counts[:] = counts[0] + hit, counts[1] + 1
    known = {prompt: counts for prompt, counts in kept.items() if counts["_before"][0]}  # what never was right cannot suffer
    shares = {prompt: counts[""][0] / counts["_before"][0] for prompt, counts in known.items()}
    worst = min(shares, key=shares.__getitem__, default="")
    return figures | {
        "worst": worst, "worst_before": worst and known[worst]["_before"], "worst_after": worst and known[worst][""],
        "below": sum(share < KEPT_BAR for share in shares.values()), "kept": len(shares),
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> str:
    """A Markdown table with one line per word, and one over all."""
    lines = []
    for row in rows:
        lines.append([
            row["forget"], str(row["target_samples"]), f"{row['forget_rate_before']:.1%}", pooled_rate([row]),
            mean_of([row], "ira"), mean_of([row], "cra"), worst_of(row),
            f"{row['below']} of {row['kept']}",
        ])  # fmt: skip
    if len(rows) > 1:
        lines.append([
            "all", str(sum(row["target_samples"] for row in rows)),
            f"{sum(row['forget_rate_before'] for row in rows) / len(rows):.1%}", pooled_rate([*rows]),
            mean_of(rows, "ira"), mean_of(rows, "cra"), "",
            f"{sum(row['below'] for row in rows)} of {sum(row['kept'] for row in rows)}",
        ])  # fmt: skip
    return table([*HEAD], lines)


def mean_of(rows: Sequence[Row], name: str) -> str:
    """A figure's mean over the rows that have it, before and after; a concept on every axis of its model has no CRA."""
    known = [row for row in rows if row[name] is not None]
    if not known:
        return "–"
    return " → ".join(f"{sum(row[key] for row in known) / len(known):.1%}" for key in (f"{name}_before", name))


def worst_of(row: Row) -> str:
    """The kept thing that suffers most, with its rates."""
    if not row["worst"]:
        return "–"
    (was, of), (now, count) = row["worst_before"], row["worst_after"]
    low, high = wilson(now, count)
    return f"{re.sub('^a photo of an? ', '', row['worst'])}: {was / of:.0%} → {now / count:.0%} [{low:.0%}–{high:.0%}]"

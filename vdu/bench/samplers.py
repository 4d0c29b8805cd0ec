"""`python -m vdu bench samplers`: how well the samplers of plain diffusers draw a model that ships.

People draw a folder with the sampler that they are used to. The judge says in how many of the images it sees some class
clearly.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vdu.bench.tables import read_rows, table, write_rows
from vdu.catalog import CATALOG, Entry
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.samples import judged
from vdu.sampling import run_to_end
from vdu.stock import STOCK, draw_plain, plain_pipeline
from vdu.task import open_model

CLEAR = 0.8  # probability of its class from which an image is clear
GUIDANCE = 3.0  # for models that take prompts


def samplers(name: str, wanted: Sequence[str], count: int, target: Path, show: Callable[[str], object]) -> None:
    """Draw with every sampler; print a Markdown table and write its rows as JSON.

    Args:
        name: a catalog model; wanted: keys of `STOCK`; count: images per sampler; target: JSON file to write.
        show: called with one line per sampler.

    Raises:
        UserError: if there is no such catalog model.
    """
    if name not in CATALOG:
        raise UserError(f"'{name}' does not ship with a judge; choose one of {', '.join(CATALOG)}.")
    entry = CATALOG[name]
    rows = read_rows(target, "sampler") if target.exists() else []
    done = {row["sampler"] for row in rows if row["model"] == name and row["images"] == count}
    for sampler in wanted:
        if sampler in done:
            continue
        clear = count_clear(entry, sampler, count)
        low, high = wilson(clear, count)
        rows.append({"model": name, "sampler": sampler, "steps": STOCK[sampler][1], "images": count, "clear": clear / count,
                     "clear_ci95": [low, high]})  # fmt: skip
        write_rows(rows, target)
        show(f"{sampler}: {clear} of {count} are clear")
    print(table(["model", "sampler", "steps", "clear"], [line_of(row) for row in rows]))


def line_of(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    low, high = row["clear_ci95"]
    return [row["model"], row["sampler"], str(row["steps"]), f"{row['clear']:.1%} [{low:.1%}–{high:.1%}], n = {row['images']}"]


def count_clear(entry: Entry, sampler: str, count: int) -> int:
    """The number of images, of `count` by plain diffusers, of which the judge is sure on every axis."""
    model, _, _ = open_model(entry.name, "cpu")
    concept, seeds = entry.concept(entry.classes[0]), range(count)
    prompts = [spec.prompt for spec in concept.plan(count, concept.prompt_kinds)] if entry.takes_prompts else None
    images = run_to_end(draw_plain(plain_pipeline(entry.folder), sampler, seeds, model.shape, prompts, GUIDANCE))
    samples = judged(images, entry.judge, ())
    return int((samples.certainty(samples.classes) > CLEAR).sum())

"""Forget rate and cost against the number of real pictures of a class: `python -m vdu bench pictures`."""

import statistics
from collections.abc import Callable
from pathlib import Path

from vdu.bench.quality import row_for
from vdu.bench.tables import load_charts, mean_over_runs, pooled, pooled_rate, read_rows, save, table
from vdu.experiments import possible_counts
from vdu.recipe import Recipe
from vdu.task import open_task


def pictures(
    model: str,
    forget: str,
    methods: list[str],
    counts: list[int],
    seeds: list[int],
    samples: int,
    target: Path,
    show: Callable[[str], None],
    plot: Path | None = None,
) -> None:
    """Run each method with each number of real pictures of a class, over several seeds.

    Prints a Markdown table with one line per method and number. Writes the rows to `target` as JSON, reuses rows that are
    already there, and draws them in `plot`.

    Raises:
        UserError: before anything is computed, if `target` holds something else, `plot` cannot be drawn, a method sees no
            pictures, or no real ones ship with the model.
    """
    charts = load_charts(plot) if plot else None
    known, tables, task = read_rows(target), {}, open_task(Recipe(model=model, forget=forget))
    for method in methods:
        counts = possible_counts(counts, method, task, "choose a model that does")
    for method in methods:
        for count in counts:
            changes = {"model": model, "forget": forget, "samples": samples, "method": method, "forget_images": count}
            recipes = [Recipe.from_dict(changes | {"seed": seed}) for seed in seeds]
            tables[method, count] = [row_for(recipe, known, target, show) for recipe in recipes]
    head = ["method", "pictures", "runs × n", "forget rate [95 %]", "worst run", "u-FID after ÷ before", "worst"]
    lines = []
    for (method, count), rows in tables.items():
        ratios = [row["u_fid_ratio"] for row in rows]
        lines.append([
            method, str(count), f"{len(rows)} × {samples:,}", pooled_rate(rows),
            f"{max(row['forget_rate'] for row in rows):.1%}", mean_over_runs(ratios), f"{max(ratios):.2f}",
        ])  # fmt: skip
    print(table(head, lines))
    if charts:
        points = {method: [(count, *pooled(tables[method, count]), statistics.fmean(row["u_fid_ratio"] for row in
                  tables[method, count])) for count in counts] for method in methods}  # fmt: skip
        save(charts.few_pictures(points, forget), plot)

"""Compare unlearning with its ideal, retraining without the class: `python -m vdu bench retrained`.

A folder from `python -m vdu pretrain retrained` holds one model trained on all classes and, for some classes, a model trained
in the same way without that class. The first model is unlearned; do its samples then have the distribution of the second's?
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vdu.bench.likelihood import excess
from vdu.bench.quality import SETTINGS, Setting
from vdu.bench.tables import Row, mean_over_runs, pooled_rate, read_rows, run_recipe, table, write_rows
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.metrics import Moments, frechet_distance, total_variation
from vdu.models import UNCONDITIONAL, Model
from vdu.optimizers import GUIDANCE
from vdu.pretrain.retrained import WITH_ALL, WITHOUT
from vdu.recipe import Recipe, resolve
from vdu.samples import Samples, draw_pristine
from vdu.sampling import image_seeds, run_to_end
from vdu.task import open_model, open_task

UNLEARNED = ("default", "vdu", "one-step", "neggrad")  # settings of the quality table
OTHER_SEEDS = 500_000  # added to a seed, to measure how much two draws from one model differ
EXPLAINED = 256  # images per comparison of denoising losses
HEAD = ("model", "runs × n", "forget rate [95 %]", "u-FID [95 %]", "from the retrained: Fréchet distance [95 %]", "share (TV)")
# Key of a row -> head of the column: by how much a denoising loss exceeds the other model's.
LOSSES = {
    "loss_on_theirs": "its denoising loss above the retrained's, on the retrained's samples",
    "loss_on_its": "the retrained's above its own, on its samples",
    "loss_on_class": "its own above the retrained's, on real images of the class",
}


def retrained(
    folder: Path, seeds: list[int], samples: int, target: Path, show: Callable[[str], None], methods: Sequence[str] = ()
) -> None:
    """Print a Markdown table of how close each setting comes to retraining, and write its rows as JSON.

    Rows already in `target`, of the same models and settings, are reused.

    Args:
        folder: the output folder of `pretrain retrained`.
        seeds: seeds of the runs and of their samples.
        samples: number of samples per model, run and seed.
        target: JSON file to write.
        show: called with one line per row.
        methods: to compare, each with its default settings; none for the settings in `UNLEARNED`.

    Raises:
        UserError: before anything is computed, if `folder` holds no retrained models, if a method does not fit them, or if
            `target` is no such table.
    """
    digits = sorted(path.name.removeprefix(WITHOUT) for path in folder.glob(f"{WITHOUT}*"))
    if not digits or not (folder / WITH_ALL).is_dir():
        raise UserError(
            f"'{folder}' holds no retrained models; make them with: python -m vdu pretrain retrained --out {folder}"
        )
    settings = [Setting(METHODS[name].title, {"method": name}) for name in methods] or [SETTINGS[key] for key in UNLEARNED]
    for setting in settings:
        if resolve(Recipe(**setting.changes), UNCONDITIONAL).optimizer == GUIDANCE:
            raise UserError(f"'{setting.words}' leaves the weights as they are, so it has no losses; leave it out.")
    known, rows = read_rows(target, "distance"), []
    for seed in seeds:
        for digit in digits:
            for row in compare_models(folder, digit, seed, samples, settings, known):
                rows.append(row)
                show(f"{digit} seed {seed}  {row['model']:<40} forget rate {row['forget_rate']:6.2%}  u-FID {row['u_fid']:.3f}"
                     f"  from the retrained {row['distance']:.3f}, TV {row['share_tv']:.3f}")  # fmt: skip
                if row not in known:
                    known.append(row)
                    write_rows(known, target)
    print(summary(rows))


def compare_models(
    folder: Path, digit: str, seed: int, samples: int, settings: Sequence[Setting], known: Sequence[Row]
) -> Iterator[Row]:
    """One row per model, for one digit and seed: retrained, retrained with other seeds, untouched, and each setting.

    If a model has forgotten, real images of the class are no easier for it than for the retrained one: `loss_on_class` is not
    below 0. A row that is `known` is not made again.
    """
    shared = {"model": str(folder / WITH_ALL), "forget": digit, "seed": seed, "samples": samples}
    task = open_task(Recipe.from_dict(shared | {"model": str(folder / f"{WITHOUT}{digit}")}))
    original = open_model(shared["model"], task.model.device)[0]
    of_both = {"forget": digit, "seed": seed, "samples": samples, "digests": [task.model.digest, original.digest]}

    def drawn(model: Model, seeds: list[int]) -> Samples:
        return run_to_end(draw_pristine("sample", model, task.judge, seeds, task.recipe.how))

    own, other = (image_seeds(start, samples) for start in (seed, seed + OTHER_SEEDS))
    goal, index = drawn(task.model, own), task.concept.classes.index(digit)
    real = task.forget_set().images[:EXPLAINED]

    def row(name: str, recipe: Recipe, make: Callable[[], tuple[Samples, Model]]) -> Row:
        asked = {"model": name, "recipe": recipe.to_dict(), **of_both}
        if same := next((made for made in known if made | asked == made), None):
            return same
        found, model = make()
        figures = task.measure(found)
        mine, theirs = found.images[:EXPLAINED], goal.images[:EXPLAINED]
        losses = (excess(model, task.model, theirs, seed), excess(task.model, model, mine, seed),
                  excess(model, task.model, real, seed))  # fmt: skip
        return asked | {
            "target_samples": samples, "forget_rate": figures["forget_rate"], "u_fid": figures["retain_fid"],
            "distance": frechet_distance(kept_moments(found, index), kept_moments(goal, index)),
            "share_tv": total_variation(kept_counts(found, index), kept_counts(goal, index)),
        } | {
            key: value for name, (mean, ends) in zip(LOSSES, losses, strict=True)
            for key, value in ((name, mean), (f"{name}_ci95", ends))
        }  # fmt: skip

    def unlearned(recipe: Recipe) -> tuple[Samples, Model]:
        run = run_recipe(recipe)
        return run.after, run.model

    yield row("retrained without it", task.recipe, lambda: (goal, task.model))
    yield row("the same, other seeds", task.recipe, lambda: (drawn(task.model, other), task.model))
    yield row("with all ten, untouched", task.recipe, lambda: (drawn(original, own), original))
    for setting in settings:
        recipe = resolve(Recipe.from_dict(shared | setting.changes), UNCONDITIONAL)
        yield row(setting.words, recipe, partial(unlearned, recipe))


def kept_moments(samples: Samples, index: int) -> Moments:
    """Moments of the judge's features, over the samples of all classes but one."""
    return Moments.of(samples.features[samples.kept(((index,),))])


def kept_counts(samples: Samples, index: int) -> list[int]:
    """Number of samples of each class but one."""
    counts: Tensor = torch.bincount(samples.classes[:, 0], minlength=samples.probabilities.shape[1])
    return torch.cat([counts[:index], counts[index + 1 :]]).tolist()


def summary(rows: list[Row]) -> str:
    """A Markdown table with one line per model, over digits and seeds."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        here = [row for row in rows if row["model"] == model]
        distance = mean_over_runs([row["distance"] for row in here])
        lines.append([
            model, f"{len(here)} × {here[0]['samples']:,}", pooled_rate(here), mean_over_runs([row["u_fid"] for row in here]),
            "–" if model == "retrained without it" else distance,
            f"{statistics.fmean(row['share_tv'] for row in here):.3f}", *(over_runs(here, key) for key in LOSSES),
        ])  # fmt: skip
    return table([*HEAD, *(f"{words} [95 %]" for words in LOSSES.values())], lines)


def over_runs(rows: list[Row], key: str) -> str:
    """The mean of a difference of losses over runs, in percent, with its interval over the images of all runs."""
    halves = [(row[f"{key}_ci95"][1] - row[key]) / len(rows) for row in rows]
    mean, half = statistics.fmean(row[key] for row in rows), math.hypot(*halves)
    return f"{mean:+.1%} [{mean - half:+.1%}, {mean + half:+.1%}]"

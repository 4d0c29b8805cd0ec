"""Compare unlearning with what it stands for, retraining without the class: `python -m vdu bench retrained`.

A folder holds a model that was trained on everything, and models trained in the same way on everything but one class
(`python -m vdu pretrain retrained`). The first is unlearned, and compared with the second: are they one distribution?
"""

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from vdu.bench.quality import SETTINGS
from vdu.bench.tables import Row, finished, mean_over_runs, pooled_rate, read_rows, table
from vdu.errors import UserError
from vdu.metrics import Moments, frechet_distance, total_variation
from vdu.pretrain.retrained import WITH_ALL, WITHOUT
from vdu.recipe import Recipe
from vdu.samples import Samples, draw
from vdu.sampling import image_seeds, run_to_end
from vdu.task import open_task

UNLEARNED = ("default", "vdu", "one-step", "neggrad")  # settings of the quality table
OTHER_SEEDS = 500_000  # added to a seed: what two draws from one model differ by
HEAD = ("model", "runs × n", "forget rate [95 %]", "u-FID [95 %]", "from the retrained: Fréchet distance [95 %]", "share (TV)")


def retrained(folder: Path, seeds: list[int], samples: int, target: Path, show: Callable[[str], None]) -> None:
    """Print a Markdown table of how near each way of unlearning comes to retraining, and write its rows as JSON.

    Args:
        folder: what `pretrain retrained` left.
        seeds: of the runs and of the samples they are measured with.
        samples: from each model, run and seed.
        target: JSON to write.
        show: called with a line a row.

    Raises:
        UserError: if `folder` does not hold such models.
    """
    digits = sorted(path.name.removeprefix(WITHOUT) for path in folder.glob(f"{WITHOUT}*"))
    if not digits or not (folder / WITH_ALL).is_dir():
        raise UserError(
            f"'{folder}' holds no retrained models; make them with: python -m vdu pretrain retrained --out {folder}"
        )
    read_rows(target, "distance")  # refuses to write over something else
    rows: list[Row] = []
    for seed in seeds:
        for digit in digits:
            for row in compared(folder, digit, seed, samples):
                rows.append(row)
                show(f"{digit} seed {seed}  {row['model']:<40} forget rate {row['forget_rate']:6.2%}  u-FID {row['u_fid']:.3f}"
                     f"  from the retrained {row['distance']:.3f}, TV {row['share_tv']:.3f}")  # fmt: skip
                target.write_text(json.dumps(rows, indent=1) + "\n")
    print(summary(rows))


def compared(folder: Path, digit: str, seed: int, samples: int) -> Iterator[Row]:
    """One row a model, for one digit and seed: retrained, drawn again, with everything, and unlearned in several ways."""
    shared = {"model": str(folder / WITH_ALL), "forget": digit, "seed": seed, "samples": samples}
    task = open_task(Recipe.from_dict(shared | {"model": str(folder / f"{WITHOUT}{digit}")}))

    def drawn(seeds: list[int]) -> Samples:
        return run_to_end(draw("sample", task.model, task.judge, seeds, task.recipe.how))

    goal = drawn(image_seeds(seed, samples))
    index = task.concept.classes.index(digit)

    def row(model: str, those: Samples) -> Row:
        figures = task.measure(those)
        return {
            "model": model, "forget": digit, "seed": seed, "samples": samples, "target_samples": samples,
            "forget_rate": figures["forget_rate"], "u_fid": figures["retain_fid"],
            "distance": frechet_distance(kept_moments(those, index), kept_moments(goal, index)),
            "share_tv": total_variation(kept_counts(those, index), kept_counts(goal, index)),
        }  # fmt: skip

    yield row("retrained without it", goal)
    yield row("the same, other seeds", drawn(image_seeds(seed + OTHER_SEEDS, samples)))
    for setting in UNLEARNED:
        run = finished(Recipe.from_dict(shared | SETTINGS[setting].changes))
        if setting == UNLEARNED[0]:
            yield row("with all ten, untouched", run.before)
        yield row(SETTINGS[setting].words, run.after)


def kept_moments(samples: Samples, index: int) -> Moments:
    """Moments of the judge's features of the samples that are not of a class."""
    return Moments.of(samples.features[samples.kept(((index,),))])


def kept_counts(samples: Samples, index: int) -> list[int]:
    """How many samples there are of each class but one."""
    counts: Tensor = torch.bincount(samples.classes[:, 0], minlength=samples.probabilities.shape[1])
    return torch.cat([counts[:index], counts[index + 1 :]]).tolist()


def summary(rows: list[Row]) -> str:
    """A Markdown table with a line a model, over digits and seeds."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        here = [row for row in rows if row["model"] == model]
        distance = mean_over_runs([row["distance"] for row in here])
        lines.append([
            model, f"{len(here)} × {here[0]['samples']:,}", pooled_rate(here), mean_over_runs([row["u_fid"] for row in here]),
            "–" if model == "retrained without it" else distance,
            f"{statistics.fmean(row['share_tv'] for row in here):.3f}",
        ])  # fmt: skip
    return table(list(HEAD), lines)

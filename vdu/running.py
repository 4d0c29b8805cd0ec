"""The commands that draw from models: `vdu unlearn | attack | sample | evaluate | estimate | compare | sweep | animate`."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from vdu.animation import animate
from vdu.arguments import number, recipe_of, recipe_options
from vdu.attacking import choose, head_and_lines, open_folder, write_attacks
from vdu.attacks import ATTACKS, ORIGINAL
from vdu.attacks.base import IMAGES
from vdu.bench.cells import Executor, Here
from vdu.bench.cluster import LOCAL, Cluster, load_ray
from vdu.bench.compare import compare
from vdu.bench.grid import presets
from vdu.bench.sweep import list_cells, sweep
from vdu.bench.tables import check_picture, load_charts, table
from vdu.command import GOES_ON, PATH, Command, Several, Whole
from vdu.errors import UserError
from vdu.estimate_cache import cache_folder, entry_of
from vdu.evaluation import evaluate
from vdu.events import Clock
from vdu.export import write_run
from vdu.forget_path import with_pictures
from vdu.models import pick_device
from vdu.posterior import CACHED, SETTINGS
from vdu.processes import is_main, shared
from vdu.recipe import FIELDS, resolve
from vdu.run import Run, estimation_of
from vdu.sampling import image_seeds, run_to_end, sample
from vdu.sheet import sheet
from vdu.summary import headline
from vdu.task import kind_of, open_model, open_task, sample_prompts
from vdu.ticker import Ticker
from vdu.unlearn import unlearn
from vdu.writing import check_writable, whole

DRAWING = ("seed", "sampler_steps", "sampler", "guidance", "device")  # fields that every command that samples takes
JUDGED = ("model", "forget", "keep", "pictures", "judge", *DRAWING)
ESTIMATED = ("model", "forget", "keep", "pictures", "judge", "method", "posterior", "parameters", "device")


def new_folder(folder: Path) -> Path:
    """A folder to write to: one that does not exist yet or is empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' already exists and is not an empty folder; choose another --out.")
    check_writable(folder)
    return folder


@click.command("unlearn", cls=Command, params=recipe_options(FIELDS, required=("model", "forget")))
@click.option("--out", type=PATH, help="Folder for the run; by default a new one under runs/.")
def run_unlearn(out: Path | None, **values: Any) -> None:
    """Make a model forget, and measure it. Other options have defaults by model and method."""
    recipe = with_pictures(recipe_of(values))
    recipe = resolve(recipe, kind_of(recipe.model))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{recipe.model[-60:]}-{recipe.forget[:60]}-{recipe.method}-seed{recipe.seed}")
    folder = new_folder(out or Path("runs", name))
    with Ticker() as ticker:
        run = Run(recipe)
        for event in unlearn(run):
            ticker.show(event)
        report = write_run(run, folder)
        ticker.line(headline(report))
    print(folder / "report.json")


@click.command("attack", cls=Command)
@click.option("--run", type=PATH, required=True, help="Folder that `unlearn --out` wrote.")
@click.option("--kind", cls=Several, type=click.Choice([*ATTACKS]), help="Attacks to carry out; by default all that apply.")
@click.option("--gold", help="Folder of a model that never saw the concept, to compare with.")
@click.option("--model", help="Where the original model lies now, if not where RUN's report says.")
@click.option("--pictures", help="Where the run's pictures lie now, if not where its report says.")
@click.option("--keep", help="Where the run's pictures to keep lie now, or its prompts to keep.")
@click.option("--images", type=Whole(8, 20000), default=IMAGES, help="Images drawn for each rate.")
@click.option("--seed", type=Whole(0, FIELDS["seed"].high), default=0, help="Seed of samples, training and noise.")
@click.option("--out", type=PATH, help="Folder to write, new or empty; without it the figures are printed.")
def run_attack(
    run: Path, kind: list[str], gold: str | None, images: int, seed: int, out: Path | None, **moved: str | None
) -> None:
    """Try to bring back what a run forgot: is it really gone?"""
    attacked = open_folder(run, gold or "", seed, images, {field: place for field, place in moved.items() if place})
    chosen = choose(attacked, [*kind])
    if out:
        new_folder(out)
        load_charts()
    found = {}
    with Ticker() as ticker:
        run_to_end(attacked.task.read_pictures(), ticker.show)  # pictures that cannot be read are refused before anything runs
        run_to_end(attacked.task.judge.fit(attacked.models[ORIGINAL], attacked.task.recipe.how), ticker.show)
        for name, attack in chosen.items():
            found[name] = run_to_end(attack.carry_out(attacked), ticker.show)
            if out:
                ticker.line(found[name].sentence)
    if out:
        print(write_attacks(attacked, found, out))
        return
    for name, result in found.items():
        print(f"{table(*head_and_lines(ATTACKS[name], result))}\n\n{result.sentence}\n")


@click.command("sample", cls=Command, params=recipe_options(("model", *DRAWING), required=("model",)))
@click.option("--n", type=Whole(1, 20000), default=64, help="Number of images.")
@click.option("--prompt", help="Prompt, for a model that takes prompts; by default varied prompts in turn.")
@click.option("--out", type=PATH, default="sheet.png", help="PNG to write.")
@click.option("--npz", type=PATH, help="Also write the images here, as uint8 (n, height, width, channels).")
@shared()
def run_sample(n: int, prompt: str | None, out: Path, npz: Path | None, **values: Any) -> None:
    """Draw a sheet of images."""
    recipe = recipe_of(values)
    recipe = resolve(recipe, kind_of(recipe.model))
    model, _, _ = open_model(recipe.model, pick_device(recipe.device))
    if prompt is not None and not model.takes_prompts:
        raise UserError(f"'{recipe.model}' takes no prompts; leave --prompt out.")
    prompts = [prompt] if prompt is not None else sample_prompts(recipe.model, model)
    prompts = [prompts[number % len(prompts)] for number in range(n)]
    check_picture(out)
    if npz:
        check_writable(npz)
        if npz.resolve() == out.resolve():
            raise UserError(f"--out and --npz are both '{out}'; give the images another name.")
    with Ticker() as ticker:
        stream = sample(model, image_seeds(recipe.seed, n), recipe.how, prompts)
        images = run_to_end(Clock("sample", n * recipe.sampler_steps).follow(stream), ticker.show)
    if not is_main():
        return
    with whole(out) as partial:
        sheet(images, torch.zeros(n, dtype=torch.bool)).save(partial)
    if npz:
        with whole(npz) as partial, partial.open("wb") as file:
            np.savez_compressed(file, images=images.permute(0, 2, 3, 1).numpy())
    print(out)


@click.command("evaluate", cls=Command, params=recipe_options(JUDGED, required=("model", "forget")))
@click.option("--samples", type=number, default=1000, help="Images drawn to measure the model.")
@shared()
def run_evaluate(**values: Any) -> None:
    """Measure any model; prints the figures as JSON."""
    task = open_task(with_pictures(recipe_of(values)))
    recipe, judge = task.recipe, task.judge
    with Ticker() as ticker:
        figures = run_to_end(evaluate(task, task.model), ticker.show)
    if not is_main():
        return
    facts = {"model": recipe.model, "forget": task.concept.display_name, "seed": recipe.seed, "samples": recipe.samples}
    rates = {"judge": judge.error_rates.to_dict()} if judge.error_rates else {}
    if recipe.pictures and not rates:
        print("The judge of this model is not fitted on pictures, so --pictures is not read.", file=sys.stderr)
    notes = {"notes": task.notes} if task.notes else {}
    print(json.dumps({**facts, **figures, **rates, **notes}, indent=1))


@click.command("estimate", cls=Command, params=recipe_options(ESTIMATED, required=("model", "forget")))
@shared()
def run_estimate(**values: Any) -> None:
    """Estimate a posterior ahead of a run, and cache it. Give the options of that run."""
    recipe = with_pictures(recipe_of(values))
    recipe = resolve(recipe, kind_of(recipe.model))
    if recipe.posterior not in CACHED:
        raise UserError(
            f"Posterior {recipe.posterior} takes seconds at most and is not cached; choose --posterior {' or '.join(CACHED)}."
        )
    if (cache := cache_folder()) is None:
        raise UserError("You have no home, and so no folder for the cache; name one in the variable VDU_CACHE.")
    task = open_task(recipe)
    task.model.train_only(recipe.parameters)
    entry = cache / entry_of(recipe.posterior, task.model, task.concept.prompts, SETTINGS)
    check_writable(entry)
    with Ticker() as ticker:
        started = time.monotonic()
        run_to_end(estimation_of(task), ticker.show)
        seconds = time.monotonic() - started
    if not is_main():
        return
    if not entry.is_file():
        raise UserError(f"'{entry}' could not be written; free some space there, or name another folder in VDU_CACHE.")
    print(f"The posterior {recipe.posterior} is cached ({seconds:.1f} s).", file=sys.stderr)
    print(entry)


CLUSTER = click.option(
    "--cluster", metavar="ADDRESS", help=f"Spread runs over Ray: host:port, auto, or {LOCAL} for new workers here."
)
THREADS = click.option(
    "--threads", type=Whole(1, 1024), help="CPU threads per run, on a cluster too; all of this machine's by default."
)


def executor_of(cluster: str | None, threads: int | None, ticker: Ticker) -> Executor:
    """What carries out the runs of a command: this process, or a cluster."""
    if cluster is None:
        return Here(ticker.show, threads)
    load_ray()  # fails now if it is missing
    return Cluster(cluster, ticker.show, threads)


@click.command(
    "compare",
    cls=Command,
    params=recipe_options([name for name in FIELDS if name != "method"], ("model", "forget")),
    stopped=GOES_ON,
)
@click.option("--methods", required=True, help="Methods to compare, such as vdu-f,salun; a wrong name gets the full list.")
@click.option("--gold", help="Folder of a model that never saw the concept; it becomes the first row of results.md.")
@click.option("--out", type=PATH, required=True, help="Folder for the tables; an unfinished comparison in it is continued.")
@CLUSTER
@THREADS
def run_compare(methods: str, gold: str | None, out: Path, cluster: str | None, threads: int | None, **values: Any) -> None:
    """Run several methods on one recipe, side by side."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    with Ticker() as ticker:
        recipe, executor = with_pictures(recipe_of(values)), executor_of(cluster, threads, ticker)
        table = compare(recipe, names, out, executor, ticker.line, gold or "", ticker.show)
    print(table)


@click.command("sweep", cls=Command, stopped=GOES_ON)
@click.argument("file", metavar="FILE", help=f"YAML file, or one of the presets {', '.join(presets())}.")
@click.option("--out", type=PATH, help="Folder for the tables; an unfinished sweep in it is continued.")
@click.option("--check", is_flag=True, help="Check the file and list its cells, without running them.")
@CLUSTER
@THREADS
def run_sweep(file: str, out: Path | None, check: bool, cluster: str | None, threads: int | None) -> None:
    """Run every combination of methods, targets, seeds … in a file."""
    if check:
        list_cells(file, "cpu" if cluster else "", print)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.", click.get_current_context())
    with Ticker() as ticker:
        table = sweep(file, out, executor_of(cluster, threads, ticker), ticker.line)
    print(table)


@click.command("animate", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", help="Folders that `unlearn --out` wrote.")
@click.option("--out", required=True, type=PATH, help="Animation to write, .webp or .gif.")
def run_animate(runs: tuple[Path, ...], out: Path) -> None:
    """Make an animation of finished runs, side by side."""
    print(animate([*runs], out))

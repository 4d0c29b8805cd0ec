"""The command line: `python -m vdu models | unlearn | sample | evaluate | compare | animate | bench | pretrain`."""

import json
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from vdu import __version__
from vdu.animation import animate
from vdu.arguments import GOES_ON, NOTHING_WRITTEN, PATH, Commands, Whole, number, recipe_of, recipe_options
from vdu.bench.commands import bench
from vdu.bench.compare import compare
from vdu.catalog import CATALOG, ENTRIES, TRAIN_FIRST, Entry
from vdu.data.pictures import PictureWarning
from vdu.errors import UserError, foreseen, one_line
from vdu.events import Clock
from vdu.export import write_run
from vdu.forget_path import with_pictures
from vdu.methods import METHODS
from vdu.models import first_line, hub, pick_device
from vdu.pretrain.commands import pretrain
from vdu.recipe import FIELDS, resolve
from vdu.report import headline
from vdu.run import Run
from vdu.samples import draw
from vdu.sampling import image_seeds, run_to_end, sample
from vdu.sheet import sheet
from vdu.task import kind_of, open_model, open_task, sample_prompts
from vdu.ticker import Ticker
from vdu.unlearn import unlearn
from vdu.writing import check_writable, whole

DRAWING = ("seed", "sampler_steps", "sampler", "guidance", "device")  # fields that every command that samples takes
JUDGED = ("model", "forget", "keep", "pictures", "judge", *DRAWING)

commands = click.version_option(__version__, message="%(version)s")(
    Commands(
        "vdu",
        help="Make a pretrained diffusion model forget, and measure it.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    )
)


def new_folder(folder: Path) -> Path:
    """A folder to write to: one that does not exist yet or is empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' already exists and is not an empty folder; choose another --out.")
    check_writable(folder)
    return folder


# What figures.json of a model may say -> in words.
FIGURES = {
    "classifier_accuracy": "the judge is right on {:.1%} of real test images",
    "judge_garment": "the judge is right on {:.1%} of real garments",
    "judge_colour": "on {:.1%} of colours",
    "confident": "{:.1%} of samples are clearly of a class",
    "classifier_real_over_half": "one class seems to it more likely than all others in {:.1%} of these",
    "over_half": "and in {:.1%} of samples",
    "garment": "garments come out right in {:.1%} of samples",
    "colour": "colours in {:.1%}",
    "fid": "Fréchet distance {:.2f}",
    "fid_floor": "real images {:.2f}",
}


def measured(entry: Entry) -> str:
    """What is known of a model, or of its judge alone, and of the example that ships with it, in words."""
    path = entry.folder / "figures.json"
    if not path.is_file():
        return "nothing."
    figures = json.loads(path.read_text())
    words = "; ".join(form.format(figures[name]) for name, form in FIGURES.items() if name in figures)
    example = entry.folder / "example" / "report.json"
    return f"{words}. Example: {headline(json.loads(example.read_text()))}" if example.is_file() else f"{words}."


@commands.command("models")
@click.option("--json", "for_tools", is_flag=True, help="For tools.")
def run_models(for_tools: bool) -> None:
    """List the models, and what was measured on them."""
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "classes": list(entry.classes),
            "shape": list(entry.shape),
            "licence": entry.licence,
            "measured": measured(entry),
        }
        for entry in CATALOG.values()
    ]
    if for_tools:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}: {row['title']}\n  forgets: {', '.join(row['classes'])}\n  measured: {row['measured']}"
              f"\n  licence: {row['licence']}\n")  # fmt: skip
    for entry in ENTRIES:
        if command := TRAIN_FIRST.get(entry.name):
            print(f"{entry.name}: does not ship with its weights; train it first, on a GPU: {command}")
            print(f"  measured: {measured(entry)}\n")
    for name, title in hub.LISTED.items():
        print(f"{name}: {title}, from the hub\n  measured: nothing on these weights\n")


@commands.command("unlearn", params=recipe_options(FIELDS, required=("model", "forget")))
@click.option("--out", type=PATH, help="Folder to leave the run in; a new one under runs/ by default.")
def run_unlearn(out: Path | None, **values: Any) -> None:
    """Make a model forget, and measure it. What is left out is decided by the model and the method."""
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


@commands.command("sample", params=recipe_options(("model", *DRAWING), required=("model",)))
@click.option("--n", type=Whole(1, 20000), default=64, help="How many images.")
@click.option("--prompt", help="For models that take prompts; varied prompts in turn by default.")
@click.option("--out", type=PATH, default="sheet.png", help="PNG to write.")
@click.option("--npz", type=PATH, help="Also write images uint8 (n, height, width, channels).")
def run_sample(n: int, prompt: str | None, out: Path, npz: Path | None, **values: Any) -> None:
    """Draw a sheet of images."""
    recipe = recipe_of(values)
    recipe = resolve(recipe, kind_of(recipe.model))
    model, _, _ = open_model(recipe.model, pick_device(recipe.device))
    if prompt is not None and not model.takes_prompts:
        raise UserError(f"'{recipe.model}' takes no prompts; leave --prompt out.")
    prompts = [prompt] if prompt is not None else sample_prompts(recipe.model, model)
    prompts = [prompts[number % len(prompts)] for number in range(n)]
    for path in filter(None, (out, npz)):
        check_writable(path)
    with Ticker() as ticker:
        stream = sample(model, image_seeds(recipe.seed, n), recipe.how, prompts)
        images = run_to_end(Clock("sample", n * recipe.sampler_steps).follow(stream), ticker.show)
    with whole(out) as partial:
        sheet(images, torch.zeros(n, dtype=torch.bool)).save(partial)
    if npz:
        with whole(npz) as partial, partial.open("wb") as file:
            np.savez_compressed(file, images=images.permute(0, 2, 3, 1).numpy())
    print(out)


@commands.command("evaluate", params=recipe_options(JUDGED, required=("model", "forget")))
@click.option("--samples", type=number, default=1000, help=FIELDS["samples"].help)
def run_evaluate(**values: Any) -> None:
    """Measure any model folder; prints the figures as JSON."""
    task = open_task(with_pictures(recipe_of(values)))
    recipe, concept, judge = task.recipe, task.concept, task.judge
    specs = concept.plan(recipe.samples, concept.prompt_kinds)
    with Ticker() as ticker:
        run_to_end(judge.fit(task.model, recipe.how), ticker.show)
        seeds = image_seeds(recipe.seed, recipe.samples)
        samples = run_to_end(draw("sample", task.model, judge, seeds, recipe.how, specs), ticker.show)
    facts = {"model": recipe.model, "forget": concept.display_name, "seed": recipe.seed, "samples": recipe.samples}
    rates = {"judge": judge.error_rates.to_dict()} if judge.error_rates else {}
    if recipe.pictures and not rates:
        print("The judge of this model is not fitted on pictures, so --pictures is not read.", file=sys.stderr)
    notes = {"notes": task.notes} if task.notes else {}
    print(json.dumps({**facts, **task.measure(samples), **rates, **notes}, indent=1))


@commands.command(
    "compare", params=recipe_options([name for name in FIELDS if name != "method"], ("model", "forget")), stopped=GOES_ON
)
@click.option("--methods", required=True, help=f"Some of {', '.join(METHODS)}, with commas between.")
@click.option("--out", type=PATH, required=True, help="Folder for the tables; an unfinished comparison in it is continued.")
def run_compare(methods: str, out: Path, **values: Any) -> None:
    """Run several methods on one recipe, side by side."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    with Ticker() as ticker:
        table = compare(with_pictures(recipe_of(values)), names, out, ticker.show, ticker.line)
    print(table)


@commands.command("animate")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", help="Folders that `unlearn` left.")
@click.option("--out", required=True, type=PATH, help="Picture to write, .webp or .gif.")
def run_animate(runs: tuple[Path, ...], out: Path) -> None:
    """Make a moving picture of finished runs, side by side."""
    print(animate([*runs], out))


commands.add_command(bench)
commands.add_command(pretrain)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        the exit status: 0, 1 for a defect, 2 for input that cannot be used, 130 when interrupted.

    Raises:
        SystemExit: with status 1, when nobody reads what is printed.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("once", PictureWarning)  # a run reads its pictures more than once
        warnings.showwarning = show_warning
        return run_command(argv)


def show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *where: Any) -> None:
    """Print a warning on stderr: the sentence alone if it is about a user's pictures."""
    of_pictures = issubclass(category, PictureWarning)
    sys.stderr.write(f"{message}\n" if of_pictures else warnings.formatwarning(message, category, filename, lineno))


def run_command(argv: list[str] | None) -> int:
    """Run a command, with errors of the user's as one line on stderr; returns the exit status."""
    try:
        return commands.main(argv, "python -m vdu", standalone_mode=False) or 0
    except click.UsageError as error:
        message = error.format_message()
        stop = "" if message.endswith((".", "?", "?)")) else "."
        return refuse(2, f"{message}{stop} See {error.ctx.command_path} --help.")
    except UserError as error:
        return refuse(2, str(error))
    except click.Abort as stop:
        return refuse(130, f"stopped; {stop.args[0] if stop.args else NOTHING_WRITTEN}.")
    except Exception as error:
        if words := foreseen(error):
            return refuse(2, words)
        # a defect, with what is needed to mend it
        traceback.print_exc()
        name, words = type(error).__name__, first_line(error)
        return refuse(1, f"this failed in vdu itself ({name}: {words}); please report it with the lines above.")


def refuse(status: int, message: str) -> int:
    """Print one line on stderr; returns the exit status."""
    print(f"vdu: {one_line(message)}", file=sys.stderr)
    return status

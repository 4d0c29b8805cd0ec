"""The command line: `python -m vdu models | unlearn | sample | evaluate | compare | bench | pretrain`."""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from vdu.arguments import Parser, add_fields, number, recipe_of, whole
from vdu.bench.commands import add_bench
from vdu.bench.compare import compare
from vdu.catalog import CATALOG, ENTRIES, TRAIN_FIRST, Entry
from vdu.errors import UserError
from vdu.events import Clock
from vdu.export import sheet, write_run
from vdu.methods import METHODS
from vdu.models import hub, pick_device
from vdu.pretrain.commands import add_pretrain
from vdu.recipe import FIELDS, resolve
from vdu.report import headline
from vdu.run import Run
from vdu.samples import draw
from vdu.sampling import image_seeds, run_to_end, sample
from vdu.task import kind_of, open_model, open_task, sample_prompts
from vdu.ticker import Ticker
from vdu.unlearn import unlearn

DRAWING = ("seed", "sampler_steps", "sampler", "guidance", "device")  # fields that every command that samples takes


def new_folder(text: str) -> Path:
    """A folder to write to: one that does not exist yet or is empty."""
    folder = Path(text)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' already exists and is not an empty folder; choose another --out.")
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


def run_models(arguments: argparse.Namespace) -> None:
    """Print the catalog: what can be picked, and what was measured on it or is missing."""
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
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}: {row['title']}\n  forgets: {', '.join(row['classes'])}\n  measured: {row['measured']}"
              f"\n  licence: {row['licence']}\n")  # fmt: skip
    for entry in ENTRIES:
        if command := TRAIN_FIRST.get(entry.name):
            print(f"{entry.name}: not in the box; train it first, on a GPU: {command}\n  measured: {measured(entry)}\n")
    for name, title in hub.LISTED.items():
        print(f"{name}: {title}, from the hub\n  measured: nothing on these weights\n")


def run_unlearn(arguments: argparse.Namespace) -> None:
    """Run a recipe and leave its folder."""
    recipe = recipe_of(arguments)
    recipe = resolve(recipe, kind_of(recipe.model))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{recipe.model[-60:]}-{recipe.forget[:60]}-{recipe.method}-seed{recipe.seed}")
    folder = new_folder(arguments.out or f"runs/{name}")
    ticker = Ticker()
    run = Run(recipe)
    for event in unlearn(run):
        ticker.show(event)
    report = write_run(run, folder)
    ticker.line(headline(report))
    print(folder / "report.json")


def run_sample(arguments: argparse.Namespace) -> None:
    """Write a sheet of samples, and the samples themselves if asked."""
    recipe = recipe_of(arguments)
    recipe = resolve(recipe, kind_of(recipe.model))
    model, _, _ = open_model(recipe.model, pick_device(recipe.device))
    if arguments.prompt is not None and not model.takes_prompts:
        raise UserError(f"'{recipe.model}' draws without words; leave --prompt out.")
    prompts = [arguments.prompt] if arguments.prompt is not None else sample_prompts(recipe.model, model)
    prompts = [prompts[number % len(prompts)] for number in range(arguments.n)]
    ticker, clock = Ticker(), Clock("sample", arguments.n * recipe.sampler_steps)
    stream = sample(model, image_seeds(recipe.seed, arguments.n), recipe.how, prompts)
    images = run_to_end(clock.follow(stream), ticker.show)
    for path in filter(None, (arguments.out, arguments.npz)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet(images, torch.zeros(arguments.n, dtype=torch.bool)).save(arguments.out)
    if arguments.npz:
        np.savez_compressed(arguments.npz, images=images.permute(0, 2, 3, 1).numpy())
    print(arguments.out)


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Print a model's figures as JSON."""
    task = open_task(recipe_of(arguments))
    recipe, concept, judge, ticker = task.recipe, task.concept, task.judge, Ticker()
    specs = concept.plan(recipe.samples, concept.prompt_kinds)
    run_to_end(judge.fit(task.model, recipe.how), ticker.show)
    seeds = image_seeds(recipe.seed, recipe.samples)
    samples = run_to_end(draw("sample", task.model, judge, seeds, recipe.how, specs), ticker.show)
    ticker.line("")
    facts = {"model": recipe.model, "forget": concept.display_name, "seed": recipe.seed, "samples": recipe.samples}
    rates = {"judge": judge.error_rates.to_dict()} if judge.error_rates else {}
    print(json.dumps({**facts, **task.measure(samples), **rates}, indent=1))


def run_compare(arguments: argparse.Namespace) -> None:
    """Run several methods on one recipe, and leave tables of what came of it."""
    methods = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    ticker = Ticker()
    print(compare(recipe_of(arguments), methods, Path(arguments.out), ticker.show, ticker.line))


def build_parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = Parser(prog="python -m vdu", description=__doc__)
    parser.set_defaults(stopped="nothing was written")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    command = commands.add_parser("models", help="the catalog")
    command.add_argument("--json", action="store_true", help="for tools")
    command.set_defaults(run=run_models)

    command = commands.add_parser("unlearn", help="make a model forget, and measure it")
    add_fields(command, FIELDS, required=("model", "forget"))
    command.add_argument("--out", help="folder to leave the run in; a new one under runs/ by default")
    command.set_defaults(run=run_unlearn)

    command = commands.add_parser("sample", help="draw a sheet of images")
    add_fields(command, ("model", *DRAWING), required=("model",))
    command.add_argument("--n", type=whole(1, 20000), default=64, help="how many images")
    command.add_argument("--prompt", help="for models that take prompts; varied prompts in turn by default")
    command.add_argument("--out", default="sheet.png", help="PNG to write")
    command.add_argument("--npz", help="also write images uint8 (n, height, width, channels)")
    command.set_defaults(run=run_sample)

    command = commands.add_parser("evaluate", help="measure any model folder")
    add_fields(command, ("model", "forget", "keep", "pictures", "judge", *DRAWING), required=("model", "forget"))
    command.add_argument("--samples", type=number, default=1000, help=FIELDS["samples"].help)
    command.set_defaults(run=run_evaluate)

    command = commands.add_parser("compare", help="run several methods on one recipe, side by side")
    add_fields(command, [name for name in FIELDS if name != "method"], required=("model", "forget"))
    command.add_argument("--methods", required=True, help=f"some of {', '.join(METHODS)}, with commas between")
    command.add_argument("--out", required=True, help="folder for the tables; an unfinished comparison in it is continued")
    command.set_defaults(run=run_compare, stopped="what is finished is kept; the same command goes on from there")

    add_bench(commands)
    add_pretrain(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for input that cannot be used, 130 when interrupted."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"vdu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"vdu: stopped; {arguments.stopped}.", file=sys.stderr)
        return 130
    return 0

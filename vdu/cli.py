"""The command line: `python -m vdu models | unlearn | sample | evaluate | bench | pretrain`."""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from vdu import bench, catalog, continual, full_size, hub, retraining
from vdu.bench import COMPARED, SETTINGS
from vdu.entries import Entry, Words
from vdu.errors import UserError
from vdu.events import PHASES, Event, Preview, Progress
from vdu.export import sheet, write_run
from vdu.measure import Clock, draw, figures_of
from vdu.methods import METHODS
from vdu.models import pick_device
from vdu.recipe import CHOICES, Recipe
from vdu.report import headline
from vdu.sampling import drain, image_seeds, sample
from vdu.unlearn import Run, unlearn

ALL = "ablation"  # stands for all settings of the ablation


class Parser(argparse.ArgumentParser):
    """Reports a bad argument as one line and exits with 2."""

    def error(self, message: str) -> Any:
        """Print the message without the usage."""
        self.exit(2, f"vdu: {message}\n")


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low:,} to {high:,}, not '{text}'")
        return value

    return parse


def number(text: str) -> int | float:
    """A number as JSON reads it, so that 1e6 steps are refused by the recipe with its bounds and not here."""
    try:
        return int(text)
    except ValueError:
        return float(text)


class Ticker:
    """Progress on stderr: one line that is rewritten on a terminal, a line a preview elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()

    def show(self, event: Event) -> None:
        """Print what is worth knowing of an event."""
        if isinstance(event, Preview):
            self.line(f"step {event.step}: forget rate about {event.forget_rate:.1%}, damage {event.damage:.0%}")
        elif isinstance(event, Progress) and self.live:
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            print(f"\r\x1b[K{PHASES[event.phase]} {event.done}/{event.total}{left}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        print(("\r\x1b[K" if self.live else "") + text, file=sys.stderr, flush=True)


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
        for entry in catalog.CATALOG.values()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}: {row['title']}\n  forgets: {', '.join(row['classes'])}\n  measured: {row['measured']}"
              f"\n  licence: {row['licence']}\n")  # fmt: skip
    for entry in catalog.ENTRIES:
        if command := catalog.TRAIN_FIRST.get(entry.name):
            print(f"{entry.name}: not in the box; train it first, on a GPU: {command}\n  measured: {measured(entry)}\n")
    for name, title in hub.LISTED.items():
        print(f"{name}: {title}, from the hub\n  measured: nothing on these weights\n")


def run_unlearn(arguments: argparse.Namespace) -> None:
    """Run a recipe and leave its folder."""
    recipe = recipe_of(arguments)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{recipe.model[-60:]}-{recipe.forget[:60]}-{recipe.method}-seed{recipe.seed}")
    folder = new_folder(arguments.out or f"runs/{name}")
    ticker = Ticker()
    run = Run(recipe)
    for event in unlearn(run):
        ticker.show(event)
    report = write_run(run, folder)
    ticker.line(headline(report))
    print(folder / "report.json")


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe that a command's arguments are part of; what suits the model elsewhere."""
    return Recipe.from_dict({name: value for name, value in vars(arguments).items() if name in CHOICES and value is not None})


def run_sample(arguments: argparse.Namespace) -> None:
    """Write a sheet of samples, and the samples themselves if asked."""
    recipe = recipe_of(arguments)
    # Nobody judges here: any words will do for a model that the catalog does not know.
    model, entry = catalog.open_model(recipe.model, pick_device(recipe.device), Words("anything"))
    if arguments.prompt is not None and not entry.takes_words:
        raise UserError(f"'{recipe.model}' draws without words; leave --prompt out.")
    prompts = [arguments.prompt] if arguments.prompt is not None else entry.prompts
    prompts = [prompts[number % len(prompts)] for number in range(arguments.n)]
    ticker, clock = Ticker(), Clock("sample", arguments.n * recipe.sampler_steps)
    stream = sample(model, image_seeds(recipe.seed, arguments.n), recipe.how, prompts)
    images = drain(stream, lambda done: ticker.show(clock.progress(done)))
    for path in filter(None, (arguments.out, arguments.npz)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet(images, torch.zeros(arguments.n, dtype=torch.bool)).save(arguments.out)
    if arguments.npz:
        np.savez_compressed(arguments.npz, images=images.permute(0, 2, 3, 1).numpy())
    print(arguments.out)


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Print a model's figures as JSON."""
    recipe = recipe_of(arguments)
    model, entry = catalog.open_model(recipe.model, pick_device(recipe.device), recipe.words)
    ticker, seeds = Ticker(), image_seeds(recipe.seed, recipe.samples)
    asks = entry.plan(recipe.forget, recipe.samples, entry.measured(recipe.forget))
    drain(entry.ready(model, recipe.how), ticker.show)
    samples = drain(draw("sample", model, entry, seeds, recipe.how, asks), ticker.show)
    ticker.line("")
    figures = figures_of(samples, entry, recipe.forget)
    print(json.dumps({"model": recipe.model, "forget": entry.shown(recipe.forget), "seed": recipe.seed,
                      "samples": recipe.samples, **figures,
                      **({"judge": entry.accuracy.to_dict()} if entry.accuracy else {})}, indent=1))  # fmt: skip


def run_quality(arguments: argparse.Namespace) -> None:
    """Print and write a table of measured runs."""
    forgets = arguments.forget or list(catalog.open_model(arguments.model, "cpu")[1].classes)
    how = arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line, arguments.plots
    settings = [name for given in arguments.settings for name in (bench.ABLATION if given == ALL else [given])]
    bench.quality(settings, arguments.model, forgets, *how)


def run_pictures(arguments: argparse.Namespace) -> None:
    """Print, write and draw how forgetting depends on the number of real pictures."""
    how = arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line, arguments.plots
    bench.pictures(arguments.model, arguments.forget, arguments.methods, arguments.counts, *how)


def run_retrained(arguments: argparse.Namespace) -> None:
    """Print and write how near unlearning comes to retraining."""
    retraining.retrained(Path(arguments.models), arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line)


def run_continual(arguments: argparse.Namespace) -> None:
    """Print and write what one request after another leaves of the model."""
    recipe = recipe_of(argparse.Namespace(**vars(arguments) | {"forget": arguments.forget[0]}))
    continual.continual(recipe, arguments.forget, Path(arguments.out), Ticker().line)


def run_timesteps(arguments: argparse.Namespace) -> None:
    """Print, write and draw how much of the class is left at each timestep."""
    bench.timesteps(arguments.model, arguments.images, Path(arguments.out), print, arguments.plots)


def run_memory(arguments: argparse.Namespace) -> None:
    """Print and write what steps on a model of full size cost."""
    full_size.memory(arguments.model, arguments.batch_size, arguments.steps, Path(arguments.work), Path(arguments.out), print)


TAKEN_BY = {  # arguments of `pretrain` that mean something to some of what it makes
    "without": ("retrained",),
    "minutes": ("cifar10", "tiny-imagenet"),
    "teacher": ("mnist",),
}


def run_pretrain(arguments: argparse.Namespace) -> None:
    """Make what assets/ holds, or what unlearning is measured against."""
    from vdu.pretrain import mnist, photographs, processes, retrained, tiny_sd

    commands = {"mnist": mnist.pretrain, "retrained": retrained.retrain, "tiny-sd": tiny_sd.pretrain}
    commands |= dict.fromkeys(photographs.KINDS, photographs.pretrain)
    for name, kinds in TAKEN_BY.items():
        if getattr(arguments, name) is not None and arguments.what not in kinds:
            raise UserError(f"--{name} is for {' and '.join(kinds)}; {arguments.what} does not take it.")
    arguments.work = arguments.work or f"pretrain-{arguments.what}"
    processes.group()  # before anything is put on a GPU
    commands[arguments.what](arguments)
    processes.leave()


def build_parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = Parser(prog="python -m vdu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    command = commands.add_parser("models", help="the catalog")
    command.add_argument("--json", action="store_true", help="for tools")
    command.set_defaults(run=run_models)

    command = commands.add_parser("unlearn", help="make a model forget, and measure it")
    command.add_argument("--model", required=True, help=CHOICES["model"].explanation)
    command.add_argument("--forget", required=True, help=CHOICES["forget"].explanation)
    for field in dataclasses.fields(Recipe):
        if field.name in ("model", "forget"):
            continue
        choice = CHOICES[field.name]
        command.add_argument(
            "--" + field.name.replace("_", "-"), type=str if choice.low is None else number, help=choice.explanation
        )
    command.add_argument("--out", help="folder to leave the run in; a new one under runs/ by default")
    command.set_defaults(run=run_unlearn)

    command = commands.add_parser("sample", help="draw a sheet of images")
    command.add_argument("--model", required=True, help=CHOICES["model"].explanation)
    command.add_argument("--n", type=whole(1, 20000), default=64)
    command.add_argument("--prompt", help="for models that take words; all that they can draw, in turn, by default")
    add_drawing(command)
    command.add_argument("--out", default="sheet.png", help="PNG to write")
    command.add_argument("--npz", help="also write images uint8 (n, height, width, channels)")
    command.set_defaults(run=run_sample)

    command = commands.add_parser("evaluate", help="measure any model folder")
    command.add_argument("--model", required=True, help=CHOICES["model"].explanation)
    command.add_argument("--forget", required=True, help="the class or words whose rate is measured")
    for name in ("keep", "pictures", "judge"):
        command.add_argument(f"--{name}", help=CHOICES[name].explanation)
    command.add_argument("--samples", type=number, default=1000)
    add_drawing(command)
    command.set_defaults(run=run_evaluate)

    kinds = commands.add_parser("bench", help="measure what the documentation claims").add_subparsers(
        dest="what", required=True, parser_class=Parser
    )
    command = kinds.add_parser("quality", help="the quality table: every setting and class, several seeds")
    command.add_argument(
        "--settings",
        nargs="+",
        choices=[*SETTINGS, ALL],
        default=list(COMPARED),
        metavar="SETTING",
        help=f"rows of the first table: {', '.join(COMPARED)}, or {ALL}, what each part is worth",
    )
    command.add_argument("--model", default=Recipe().model, help=CHOICES["model"].explanation)
    command.add_argument("--forget", nargs="+", help="classes; all of them by default")
    command.add_argument("--seeds", nargs="+", type=whole(0, 2**31 - 1), default=[0, 1, 2])
    command.add_argument("--samples", type=whole(50, 20000), default=2000)
    command.add_argument("--plots", type=Path, help="PNG to draw: what forgetting costs in each setting")
    command.add_argument("--out", default="quality.json", help="JSON to write, row by row")
    command.set_defaults(run=run_quality)

    command = kinds.add_parser("pictures", help="forgetting against the number of real pictures of the class")
    command.add_argument("--model", default=Recipe().model, help=CHOICES["model"].explanation)
    command.add_argument("--forget", default=Recipe().forget, help=CHOICES["forget"].explanation)
    command.add_argument("--methods", nargs="+", choices=METHODS, default=["vdu-f", "vdu"], metavar="METHOD")
    command.add_argument("--counts", nargs="+", type=whole(1, 500), default=[1, 4, 16, 64, 256])
    command.add_argument("--seeds", nargs="+", type=whole(0, 2**31 - 1), default=[0, 1, 2])
    command.add_argument("--samples", type=whole(50, 20000), default=1000)
    command.add_argument("--plots", type=Path, help="PNG to draw")
    command.add_argument("--out", default="pictures.json", help="JSON to write, row by row")
    command.set_defaults(run=run_pictures)

    command = kinds.add_parser("retrained", help="how near each way of unlearning comes to retraining without the class")
    command.add_argument("--models", default="retrained", help="folder that `pretrain retrained` left")
    command.add_argument("--seeds", nargs="+", type=whole(0, 2**31 - 1), default=[0, 1, 2])
    command.add_argument("--samples", type=whole(50, 20000), default=2000)
    command.add_argument("--out", default="retrained.json", help="JSON to write, row by row")
    command.set_defaults(run=run_retrained)

    command = kinds.add_parser("continual", help="one request after another, and all at once")
    command.add_argument("--model", default=Recipe().model, help=CHOICES["model"].explanation)
    command.add_argument("--forget", nargs="+", default=["3", "8", "5"], help="in this order")
    for name in ("method", "steps", "max_damage", "seed"):
        command.add_argument("--" + name.replace("_", "-"), type=str if name == "method" else number,
                             help=CHOICES[name].explanation)  # fmt: skip
    command.add_argument("--samples", type=whole(50, 20000), default=1000)
    command.add_argument("--out", default="continual.json", help="JSON to write, row by row")
    command.set_defaults(run=run_continual)

    command = kinds.add_parser("timesteps", help="how much of an image's class is left at each timestep")
    command.add_argument("--model", default=Recipe().model, help=CHOICES["model"].explanation)
    command.add_argument("--images", type=whole(1, 500), default=50, help="real images of each class")
    command.add_argument("--plots", type=Path, help="PNG to draw")
    command.add_argument("--out", default="timesteps.json", help="JSON to write")
    command.set_defaults(run=run_timesteps)

    command = kinds.add_parser("memory", help="time and peak memory of steps on a Stable Diffusion of full size")
    command.add_argument("--model", help="a folder of one; the architecture of SD v1 with random weights by default")
    command.add_argument("--batch-size", nargs="+", type=whole(1, 64), default=[1, 4], help="forget images a step")
    command.add_argument("--steps", type=whole(2, 1000), default=6)
    command.add_argument("--work", default="random-sd", help="folder for the random weights, 4 GB")
    command.add_argument("--out", default="memory.json", help="JSON to write")
    command.set_defaults(run=run_memory)

    command = commands.add_parser("pretrain", help="make what assets/ holds, or retrain without a digit")
    command.add_argument(
        "what",
        choices=["mnist", "cifar10", "tiny-imagenet", "tiny-sd", "retrained"],
        help="assets/mnist-ddpm, assets/tiny-sd; retrained: without a digit",
    )
    command.add_argument("--without", nargs="+", metavar="DIGIT", help="what retrained models never see; 3 9 by default")
    command.add_argument("--work", help="folder for checkpoints; a killed run goes on from there; pretrain-… by default")
    command.add_argument("--data", help="folder of (Fashion-)MNIST IDX files, fetched by default; archive of photographs")
    command.add_argument("--steps", type=whole(10, 10**7), default=None, help="optimiser steps of each stage")
    command.add_argument("--minutes", type=float, default=None, help="train as many steps as fit in; for photographs")
    command.add_argument("--teacher", help="folder of a model to distil, in place of training a teacher first")
    command.add_argument("--out", help="folder to write; that in assets/, or retrained/, by default")
    command.set_defaults(run=run_pretrain)
    return parser


def add_drawing(command: argparse.ArgumentParser) -> None:
    """Arguments of every command that samples."""
    for name in ("seed", "sampler_steps", "sampler", "guidance", "device"):
        choice = CHOICES[name]
        command.add_argument(
            "--" + name.replace("_", "-"), type=str if choice.low is None else number, help=choice.explanation
        )


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
        print("vdu: stopped; nothing was written.", file=sys.stderr)
        return 130
    return 0

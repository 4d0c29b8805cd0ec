"""`python -m vdu bench …`: each experiment's options, and what it runs."""

import argparse
from pathlib import Path
from typing import Any

from vdu.arguments import Parser, flag, number, recipe_of, whole
from vdu.bench.quality import ABLATION, COMPARED, SETTINGS
from vdu.methods import METHODS
from vdu.recipe import FIELDS, Recipe
from vdu.task import classes_of
from vdu.ticker import Ticker

ALL = "ablation"  # stands for all settings of the ablation
SEED = whole(0, FIELDS["seed"].high)
COUNT = whole(50, FIELDS["samples"].high)

Options = dict[str, dict[str, Any]]  # option -> what argparse is told of it

MODEL = {"--model": {"default": Recipe().model, "help": FIELDS["model"].help}}
SEEDS = {"--seeds": {"nargs": "+", "type": SEED, "default": [0, 1, 2], "help": "of the runs; each has its own samples"}}
PLOTS = {"--plots": {"type": Path, "help": "PNG to draw"}}
ROWS = "JSON to write, row by row"


def samples(default: int) -> Options:
    """The option --samples."""
    return {"--samples": {"type": COUNT, "default": default, "help": FIELDS["samples"].help}}


def run_quality(arguments: argparse.Namespace) -> None:
    """Print and write a table of measured runs."""
    from vdu.bench import quality

    forgets = arguments.forget or classes_of(arguments.model)
    how = arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line, arguments.plots
    settings = [name for given in arguments.settings for name in (ABLATION if given == ALL else [given])]
    quality.quality(settings, arguments.model, forgets, *how)


def run_pictures(arguments: argparse.Namespace) -> None:
    """Print, write and draw how forgetting depends on the number of real pictures."""
    from vdu.bench.pictures import pictures

    how = arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line, arguments.plots
    pictures(arguments.model, arguments.forget, arguments.methods, arguments.counts, *how)


def run_retrained(arguments: argparse.Namespace) -> None:
    """Print and write how near unlearning comes to retraining."""
    from vdu.bench.retrain import retrained

    retrained(Path(arguments.models), arguments.seeds, arguments.samples, Path(arguments.out), Ticker().line)


def run_continual(arguments: argparse.Namespace) -> None:
    """Print and write what one request after another leaves of the model."""
    from vdu.bench.continual import continual

    recipe = recipe_of(argparse.Namespace(**vars(arguments) | {"forget": arguments.forget[0]}))
    continual(recipe, arguments.forget, Path(arguments.out), Ticker().line)


def run_timesteps(arguments: argparse.Namespace) -> None:
    """Print, write and draw how much of the class is left at each timestep."""
    from vdu.bench.timesteps import timesteps

    timesteps(arguments.model, arguments.images, Path(arguments.out), print, arguments.plots)


def run_memory(arguments: argparse.Namespace) -> None:
    """Print and write what steps on a model of full size cost."""
    from vdu.bench.memory import memory

    memory(arguments.model, arguments.batch_size, arguments.steps, Path(arguments.work), Path(arguments.out), print)


# experiment -> its help, what it runs, and its options
EXPERIMENTS: dict[str, tuple[str, Any, Options]] = {
    "quality": (
        "the quality table: every setting and class, several seeds",
        run_quality,
        {
            "--settings": {
                "nargs": "+",
                "choices": [*SETTINGS, ALL],
                "default": [*COMPARED],
                "metavar": "SETTING",
                "help": f"{', '.join(COMPARED)}; or {ALL}: the paper's loss",
            },
            **MODEL,
            "--forget": {"nargs": "+", "help": "classes or words; all of the model's by default"},
            **SEEDS,
            **samples(2000),
            "--plots": {"type": Path, "help": "PNG to draw: what forgetting costs in each setting"},
            "--out": {"default": "quality.json", "help": ROWS},
        },
    ),
    "pictures": (
        "forgetting against the number of real pictures of the class",
        run_pictures,
        {
            **MODEL,
            "--forget": {"default": Recipe().forget, "help": FIELDS["forget"].help},
            "--methods": {
                "nargs": "+",
                "choices": METHODS,
                "default": ["vdu-f", "vdu"],
                "metavar": "METHOD",
                "help": f"some of {', '.join(METHODS)}",
            },
            "--counts": {"nargs": "+", "type": whole(1, 500), "default": [1, 4, 16, 64, 256], "help": "how many pictures"},
            **SEEDS,
            **samples(1000),
            **PLOTS,
            "--out": {"default": "pictures.json", "help": ROWS},
        },
    ),
    "retrained": (
        "how near each way of unlearning comes to retraining without the class",
        run_retrained,
        {
            "--models": {"default": "retrained", "help": "folder that `pretrain retrained` left"},
            **SEEDS,
            **samples(2000),
            "--out": {"default": "retrained.json", "help": ROWS},
        },
    ),
    "continual": (
        "one request after another, and all at once",
        run_continual,
        {
            **MODEL,
            "--forget": {"nargs": "+", "default": ["3", "8", "5"], "help": "in this order"},
            **{
                flag(name): {"type": str if FIELDS[name].type is str else number, "help": FIELDS[name].help}
                for name in ("method", "steps", "max_damage", "seed")
            },
            **samples(1000),
            "--out": {"default": "continual.json", "help": ROWS},
        },
    ),
    "timesteps": (
        "how much of an image's class is left at each timestep",
        run_timesteps,
        {
            **MODEL,
            "--images": {"type": whole(1, 500), "default": 50, "help": "real images of each class"},
            **PLOTS,
            "--out": {"default": "timesteps.json", "help": "JSON to write"},
        },
    ),
    "memory": (
        "time and peak memory of steps on a Stable Diffusion of full size",
        run_memory,
        {
            "--model": {"help": "a folder of one; the architecture of SD v1 with random weights by default"},
            "--batch-size": {"nargs": "+", "type": whole(1, 64), "default": [1, 4], "help": "forget images per step"},
            "--steps": {"type": whole(2, 1000), "default": 6, "help": "steps to take; the first is not timed"},
            "--work": {"default": "random-sd", "help": "folder for the random weights, 4 GB"},
            "--out": {"default": "memory.json", "help": "JSON to write"},
        },
    ),
}


def add_bench(commands: Any) -> None:
    """Add the command `bench` and its experiments to a parser's commands."""
    bench = commands.add_parser("bench", help="measure what the documentation claims")
    kinds = bench.add_subparsers(dest="what", required=True, parser_class=Parser)
    for name, (words, run, options) in EXPERIMENTS.items():
        command = kinds.add_parser(name, help=words)
        for option, told in options.items():
            command.add_argument(option, **told)
        command.set_defaults(run=run)

"""`python -m vdu pretrain …`: its options, and what it runs."""

import argparse
from typing import Any

from vdu.arguments import whole
from vdu.errors import UserError

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


def add_pretrain(commands: Any) -> None:
    """Add the command `pretrain` to a parser's commands."""
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

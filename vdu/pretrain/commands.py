"""`python -m vdu pretrain …`: its options, and what it runs."""

import importlib
from types import SimpleNamespace
from typing import Any

import click

from vdu.command import GOES_ON, Command, Real, Several, Whole
from vdu.errors import UserError

MAKERS = {  # WHAT -> the module of vdu.pretrain and its function
    "mnist": "mnist:pretrain",
    "cifar10": "photographs:pretrain",
    "tiny-imagenet": "photographs:pretrain",
    "tiny-sd": "tiny_sd:pretrain",
    "cifar10-sd": "cifar10_sd:pretrain",
    "retrained": "retrained:retrain",
    "originals": "retrained:train_originals",
}
TAKEN_BY = {  # option -> the values of WHAT that take it; all others take every WHAT
    "without": ("retrained",),
    "seeds": ("originals",),
    "minutes": ("cifar10", "tiny-imagenet"),
    "teacher": ("mnist", "cifar10", "tiny-imagenet"),
}


@click.command("pretrain", cls=Command, stopped=GOES_ON)
@click.argument("what", type=click.Choice([*MAKERS]), metavar="WHAT", help=f"{', '.join(MAKERS)}.")
@click.option("--without", cls=Several, metavar="WHAT",
              help="Digits, or garments and colours, that retrained models never see; by default 3 9.")  # fmt: skip
@click.option("--seeds", cls=Several, type=Whole(0, 2**31 - 1), metavar="NUMBER",
              help="Seeds of the originals; by default 0 1 2 3.")  # fmt: skip
@click.option("--work", help="Folder for checkpoints, from which a killed run goes on; by default pretrain-WHAT.")
@click.option("--data", help="Archive of photographs; or folder of (Fashion-)MNIST IDX files, fetched by default.")
@click.option("--steps", type=Whole(10, 10**7), help="Optimiser steps of each stage.")
@click.option("--minutes", type=Real(0.1, 10**5), help="Train for as many steps as fit into this time; for photographs.")
@click.option("--teacher", help="Folder of a model: mnist distils it; photographs train it further, guided by itself.")
@click.option("--out", help="Folder to write; by default the one in assets/, retrained/ or originals/.")
def pretrain(what: str, **given: Any) -> None:
    """Train the shipped models again, or others to compare with.

    retrained: without some digits or words. originals: on all digits, from several seeds.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # what is imported next would advise to install torchvision
    from vdu import processes

    for name, kinds in TAKEN_BY.items():
        if given[name] not in (None, ()) and what not in kinds:
            raise UserError(f"--{name} is for {' and '.join(kinds)}; {what} does not take it.")
    given["work"] = given["work"] or f"pretrain-{what}"
    processes.group()  # before anything is put on a GPU
    module, function = MAKERS[what].split(":")
    getattr(importlib.import_module(f"vdu.pretrain.{module}"), function)(SimpleNamespace(what=what, **given))
    processes.leave()

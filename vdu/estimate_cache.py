"""Estimates of a posterior on disk, by everything they depend on."""

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu.events import Progress
from vdu.losses import Posterior
from vdu.models import Model
from vdu.models.digest import digest_of
from vdu.processes import from_first, leads
from vdu.system import package_versions

LONGEST_WRITE = 3600  # seconds; an unfinished entry of the cache that is older was left by a killed process
WRITES = f"tmp-{platform.node()}-"  # how the folder of an unfinished entry begins; the process's number follows

Estimation = Generator[Progress, None, Posterior]
Prompts = Sequence[str | None]  # for the images that the model draws; (None,) for a model without prompts


def cache_folder() -> Path | None:
    """The folder of cached estimates: $VDU_CACHE, or vdu-studio in the user's cache folder; None for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(os.environ.get("VDU_CACHE") or f"{home}/vdu-studio").expanduser()
    except RuntimeError:
        return None


def sweep(folder: Path) -> None:
    """Delete what killed processes left of entries that they had not finished.

    Of a process of another machine, which may share the cache, it is not known whether it lives: what is old is deleted.
    """
    for left in folder.glob("tmp*"):
        mine = re.fullmatch(rf"{re.escape(WRITES)}(\d+)-\w+", left.name)
        with suppress(OSError):  # of another process that sweeps
            if (mine and not psutil.pid_exists(int(mine[1]))) or time.time() - left.stat().st_mtime > LONGEST_WRITE:
                shutil.rmtree(left, ignore_errors=True)


def read(name: str) -> dict[str, Tensor]:
    """The tensors of an entry; none if there is no such entry, or it cannot be read."""
    if folder := cache_folder():
        with suppress(OSError, SafetensorError):
            return load_file(folder / name)
    return {}


def write(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write an entry as a whole, or not at all where there is no folder for the cache or it cannot be written to."""
    if (folder := cache_folder()) is None:
        return
    with suppress(OSError, SafetensorError):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{WRITES}{os.getpid()}-") as scratch:
            save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, Path(scratch) / name)
            (Path(scratch) / name).replace(folder / name)


def trained_parameters(model: Model) -> dict[str, Tensor]:
    """A copy of the model's trained parameters, by name."""
    return {name: value.detach().clone() for name, value in model.trained.items()}


def shapes(parts: dict[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each tensor, by name."""
    return {name: value.shape for name, value in parts.items()}


def cached(name: str, model: Model, prompts: Prompts, settings: tuple[object, ...], estimation: Estimation) -> Estimation:
    """An estimate of sigma*^2, from the cache on disk or else computed and cached; an unreadable cache entry is replaced.

    Of processes that share their work, the first reads and writes for all.
    """
    mean, entry = trained_parameters(model), entry_of(name, model, prompts, settings)
    variance = {key: value.to(model.device) for key, value in (read(entry) if leads() else {}).items()}
    sound = all((value > 0).all() and value.isfinite().all() for value in variance.values())
    if variance := from_first(variance if sound and shapes(variance) == shapes(mean) else {}, mean):
        return Posterior(mean, variance)
    posterior = yield from estimation
    if leads():
        write(entry, posterior.variance)
    return posterior


def entry_of(name: str, model: Model, prompts: Prompts, settings: tuple[object, ...]) -> str:
    """The name of an estimate in the cache, by all that it depends on."""
    formats = sorted((key, str(value.dtype)) for key, value in model.trained.items())
    depends = (name, model.digest, model.device, formats, tuple(prompts), settings, sorted(package_versions().items()))
    return f"{name}-{digest_of(depends)}.safetensors"

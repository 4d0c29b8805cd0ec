"""What makes a model safe to remember: a hash of every file that it is read from, and weights of its own that are finite."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from vdu.errors import UserError

READ = (".json", ".txt", ".model", ".safetensors")  # endings of the files that diffusers and transformers read
SETTLED = 2e9  # nanoseconds: a file that changed less long ago may change again within one tick of the file system's clock

Stamp = tuple[int, int, int, int, int]
_KNOWN: dict[Path, tuple[Stamp, str]] = {}


def folder_digest(folder: Path, parts: Iterable[str] = ("",)) -> str:
    """Hash of the names and contents of a model's files, 16 hexadecimal digits.

    Args:
        folder: the model's folder.
        parts: its subfolders; if one does not exist, its files are taken from the folder itself. "" is the folder itself.

    Raises:
        OSError: if a file cannot be read.
    """
    listed = {path.relative_to(folder).as_posix(): path for path in (folder / "model_index.json",) if path.is_file()}
    for part in parts:
        where = folder / part if part and (folder / part).is_dir() else folder
        inside = where.iterdir() if where == folder else where.rglob("*")
        listed |= {path.relative_to(folder).as_posix(): path for path in inside if path.suffix in READ and path.is_file()}
    return digest_of((name, file_digest(path)) for name, path in sorted(listed.items()))


def digest_of(parts: Iterable[object]) -> str:
    """Hash of some plain values, 16 hexadecimal digits."""
    return hashlib.sha256(repr([*parts]).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Hash of a file's contents, which is computed again only if the file may have changed."""
    path = path.resolve()
    stamp = stamp_of(path)
    if (known := _KNOWN.get(path)) and known[0] == stamp:
        return known[1]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A program can set the time of modification, but on POSIX not the time of change. Elsewhere every file is read anew.
    if os.name == "posix" and stamp == stamp_of(path) and time.time_ns() - stamp[-1] > SETTLED:
        _KNOWN[path] = stamp, digest
    return digest


def stamp_of(path: Path) -> Stamp:
    """Device, inode, size in bytes, times of modification and of change in nanoseconds."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def copy_weights(module: torch.nn.Module) -> None:
    """Give a network its own memory: what safetensors reads is mapped from the file, and changes if that is overwritten."""
    for value in (*module.parameters(), *module.buffers()):
        if value.device.type == "cpu":
            value.data = value.data.clone()


def check_finite(name: str, module: torch.nn.Module) -> None:
    """Refuse a network whose weights are not all finite, as training leaves them when it has failed, or no real numbers.

    Args:
        name: what the network is, for the message: "the unet of 'FOLDER'".

    Raises:
        UserError: if a parameter or buffer holds a NaN, an infinity, or complex numbers.
    """
    for place, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_complex():
            raise UserError(f"The weights of {name} are complex numbers, such as {place}; save them as real ones.")
        # The extremes are NaN if any value is, and need no memory of their own.
        if value.is_floating_point() and value.numel() and not torch.stack(value.detach().aminmax()).isfinite().all():
            raise UserError(f"The weights of {name} are not all finite numbers: {place} is not; take an earlier checkpoint.")

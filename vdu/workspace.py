"""The one folder that a server writes to: runs and uploads. It goes when the server ends, or when the next one starts."""

import atexit
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

import psutil

PREFIX = "vdu-studio-"
OWNER = "owner"  # file with the process id and the start time of the process that a folder belongs to


@lru_cache(maxsize=1)
def server_folder() -> Path:
    """This process's folder, made at the first call; folders of processes that have ended are deleted then.

    Gradio puts uploads into it too, if it is imported after the first call: its own folder is shared by all users of a
    machine.
    """
    sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    own(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    atexit.register(leave, folder, os.getpid())
    return folder


def own(folder: Path) -> None:
    """Write whose folder it is, again and again: a system that clears old files away may delete the file."""
    folder.mkdir(exist_ok=True)
    (folder / OWNER).write_text(f"{os.getpid()} {psutil.Process().create_time()}")


def leave(folder: Path, process: int) -> None:
    """Delete the folder of a process, unless this is a fork of it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(temporary: Path) -> None:
    """Delete the folders that killed processes have left, as far as they belong to this user."""
    for folder in temporary.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
                continue
            alive = is_alive((folder / OWNER).read_text())
        except (OSError, ValueError):  # cut off before it was written; or one that is being made just now
            alive = not folder.is_dir() or time.time() - folder.stat().st_mtime < 60
        if not alive:
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(owner: str) -> bool:
    """Whether the process that wrote a file `OWNER` still runs; another process may have its number by now."""
    number, started = owner.split()
    try:
        return abs(psutil.Process(int(number)).create_time() - float(started)) < 1
    except psutil.Error:
        return False


def new_folder() -> Path:
    """An empty folder for one run, whose name nobody can guess; the parent is made again if somebody has deleted it."""
    folder = server_folder() / "runs" / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder


def downloads() -> Path:
    """The folder from which files are served as they are, so that no copies of them lie in Gradio's cache."""
    return server_folder() / "downloads"


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(size for _, size, _ in files_in(folder))


def files_in(folder: Path) -> Iterable[tuple[float, int, Path]]:
    """(time of last change, bytes, path) of all files in a folder; files that vanish meanwhile are left out."""
    for path in folder.rglob("*"):
        try:
            facts = path.lstat()
        except OSError:
            continue
        if path.is_file():
            yield facts.st_mtime, facts.st_size, path


def trim_uploads(most: int, longest: float, in_use: Collection[str] = ()) -> None:
    """Delete uploads that nobody uses after `longest` seconds, and the oldest of all while they exceed `most` bytes."""
    files = sorted(files_in(server_folder() / "uploads"))
    total = sum(size for _, size, _ in files)
    for changed, size, path in files:
        if total <= most and (changed > time.time() - longest or str(path) in in_use):
            continue
        path.unlink(missing_ok=True)
        total -= size
        if path.parent != server_folder() / "uploads" and not any(path.parent.iterdir()):
            path.parent.rmdir()

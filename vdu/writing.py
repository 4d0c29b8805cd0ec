"""Write files and folders whole or not at all, and say in a sentence why one could not be written."""

import errno
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from vdu.errors import UserError, one_line

# Error number of the operating system -> why nothing can be written.
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "a part of its path is a file",
}
FULL = (REASONS[errno.ENOSPC], REASONS[errno.EDQUOT])


class NotWritten(UserError):
    """Something could not be written.

    Attributes:
        reason: why, as the end of a sentence.
    """

    def __init__(self, path: Path, reason: str) -> None:
        remedy = "free some space there, or choose another place" if reason in FULL else "choose another place"
        super().__init__(f"'{path}' could not be written: {reason}; {remedy}.")
        self.reason = reason


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path` inside a `with` block.

    Raises:
        NotWritten: in place of an error of the disk.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise NotWritten(path, reason_of(error)) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path of the same name beside `path`, to write a file or a folder to, which then takes its place.

    An empty folder at `path` is replaced. If the block fails, nothing is left of it.

    Raises:
        NotWritten: in place of an error of the disk.
    """
    refuse_device(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:60]}-") as scratch:
            partial = Path(scratch) / path.name
            yield partial
            if path.is_dir():
                path.rmdir()
            partial.replace(path)


def check_writable(path: Path) -> None:
    """Try whether a file or folder can be made at `path`, so that a run fails before it begins and not after hours.

    Raises:
        NotWritten: if not.
    """
    refuse_device(path)
    there = next(folder for folder in path.absolute().parents if folder.exists())
    with writing(path), tempfile.TemporaryDirectory(dir=there, prefix=".vdu-") as scratch:
        (Path(scratch) / path.name).touch()
        if path.is_dir() and any(path.iterdir()):
            raise NotWritten(path, "it is a folder that is not empty")


def refuse_device(path: Path) -> None:
    """Refuse what is neither a file nor a folder, such as /dev/null: a file would take its place.

    Raises:
        NotWritten: if it is there.
    """
    with writing(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise NotWritten(path, "it is a device and no file")


def reason_of(error: Exception) -> str:
    """Why something could not be written, as the end of a sentence."""
    number = getattr(error, "errno", None)
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # of safetensors, which has no number
        number = int(found[1])
    return REASONS.get(number) or one_line(getattr(error, "strerror", None) or str(error)).removesuffix(".")

"""Finding the pictures among a user's files: in folders, in zips, and in folders of labelled folders."""

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from vdu.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# What is meant as a picture, even if it cannot be read.
SUFFIXES = frozenset({*Image.registered_extensions(), ".heic", ".heif", ".svg", ".dng", ".cr2", ".nef", ".arw"})
IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")  # left by systems; as hidden files, no one means them as pictures
LARGEST_FILE = 20 * 2**20  # bytes of a file in a zip, unpacked
MOST_ADDED = 512 * 2**20  # bytes that unpacking the pictures of a zip adds to those of the zip
LARGEST_DIRECTORY = 2 * 2**20  # bytes of a zip's table of contents, which has 50 or more per file
MOST_FILES = 20_000  # in a folder or zip, with what lies in folders within: more is a disk rather than a forget set
NAMED = 3  # names in a sentence
LONGEST_NAME, NAME_END = 60, 20  # letters of a name in a sentence, and of those after what is left out

NOT_USED = "{names} {are} not used: only pictures are, no captions and no other files"
LINKS = "{names} {are} not used: links to folders are not followed"
BESIDE = "the pictures in the folder {names} {are} not used, but only those beside"
TOO_MANY = f"'{{}}' holds more than {MOST_FILES:,} files; give a folder of pictures alone."
LEFT_OUT = "{names} {are} left out: "
NESTED, LARGE = "a zip in a zip; unpack it", f"larger than {LARGEST_FILE // 2**20} MiB"
GONE = "no longer there"
BROKEN, ENCRYPTED = "broken, or packed in a way that cannot be unpacked", "encrypted; save it without a password"


class Notes(dict[str, list[str]]):
    """What the user must know: sentence, with {names} and {are} in it -> the names that it is true of."""

    def add(self, sentence: str, name: str) -> None:
        """Note that a sentence is true of a file or folder."""
        self.setdefault(sentence, []).append(name)

    def leave_out(self, why: str, name: str) -> None:
        """Note that a file is left out."""
        self.add(LEFT_OUT + why, name)

    def sentences(self) -> list[str]:
        """A sentence per kind of note, without a full stop."""
        are = {True: "are", False: "is"}
        return [sentence.format(names=listed(names), are=are[len(names) > 1]) for sentence, names in self.items()]


def listed(names: list[str]) -> str:
    """The first few of some names, and how many more there are."""
    quoted = [f"'{shortened(name)}'" for name in names[:NAMED]]
    quoted += [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def shortened(name: str | Path) -> str:
    """A name, or that of a file or folder, as a sentence can hold it: on one line, and not too long."""
    name = name.absolute().name if isinstance(name, Path) else name
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - NAME_END - 1]}…{name[-NAME_END:]}"


@dataclass(frozen=True)
class File:
    """A file of a user's.

    Attributes:
        path: its path; of a file in a zip, the zip's path followed by its name in the zip.
        folder: the folder that it lies in, relative to the folder or zip that was given; "" for that itself.
        size: bytes, unpacked.
        open: opens it for reading.
        identity: differs for other files and other content; links to a file have the same.
        problem: why it is left out; "" if it can be opened.
    """

    path: Path
    folder: str
    size: int
    open: Callable[[], BinaryIO]
    identity: tuple[int, ...]
    problem: str = ""

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip, by its name."""
        return self.path.suffix.lower() == ".zip"

    @property
    def is_picture(self) -> bool:
        """Whether it is meant as a picture, by its name or its first bytes."""
        if self.path.suffix.lower() in SUFFIXES:
            return True
        if self.problem:
            return False
        try:
            with self.open() as file:
                start = file.read(16)
        except Exception:  # zipfile raises many kinds of errors for broken files
            return False
        return any(Image.OPEN[kind][1](start) for kind in FORMATS)


def find_pictures(paths: Iterable[Path], notes: Notes) -> list[File]:
    """The files among some files, folders and zips that are meant as pictures; `notes` says what else there is.

    Of a folder or a zip, its own pictures are taken; if it has none, those of the only folder with pictures in it.

    Raises:
        UserError: if pictures lie in several folders of a folder or zip, and none beside, or there are too many files.
    """
    files = []
    for path in paths:
        if not path.exists():
            notes.leave_out(GONE, path.name)
        else:
            files += chosen(files_in_folder(path, notes) if path.is_dir() else [file_at(path)], path, notes)
    return files


def file_at(path: Path, folder: str = "") -> File:
    """The file at a path, in a folder relative to the one that was given."""
    return File(path, folder, path.stat().st_size, partial(path.open, "rb"), identity_of(path))


def identity_of(path: Path) -> tuple[int, ...]:
    """See `File.identity`."""
    seen = path.stat()
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns


def chosen(listing: Iterable[File], where: Path, notes: Notes, in_zip: bool = False) -> list[File]:
    """The pictures to take of the files in a folder or zip, see `find_pictures`."""
    files = list(islice(listing, MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise UserError(TOO_MANY.format(shortened(where)))
    folders: dict[str, list[File]] = {}
    for file in files:
        if file.is_zip or file.is_picture:
            folders.setdefault(file.folder, []).append(file)
        else:
            notes.add(NOT_USED, file.path.name)
    if len(folders) > 1 and "" not in folders:
        raise UserError(
            f"'{shortened(where)}' holds {len(folders)} folders of pictures, {listed(sorted(folders))}; give one of them, as "
            "a folder or as a zip of its own."
        )
    taken = []
    for folder, inside in folders.items():
        if "" in folders and folder:
            notes.add(BESIDE, folder)
            continue
        for file in inside:
            if problem := NESTED if in_zip and file.is_zip else file.problem:
                notes.leave_out(problem, file.path.name)
            elif file.is_zip:
                taken += pictures_in_zip(file.path, notes)
            else:
                taken.append(file)
    return taken


class Directory(io.BufferedReader):
    """A zip that can be opened only if its table of contents is not too large: `zipfile` reads that at once.

    Attributes:
        opened: whether the table has been read.
    """

    opened = False

    def __del__(self) -> None:
        """Close it with the last picture of it that is still to be read, as `zipfile` closes the zips that it opens."""
        self.close()

    def read(self, size: int | None = -1) -> bytes:
        """See `io.BufferedReader.read`.

        Raises:
            TooManyFiles: for too large a table of contents.
        """
        if not self.opened and size and size > LARGEST_DIRECTORY:
            raise TooManyFiles
        return super().read(size)


class TooManyFiles(Exception):
    """A zip holds too many files."""


def pictures_in_zip(path: Path, notes: Notes) -> list[File]:
    """The pictures to take of a zip; none of a broken one.

    Raises:
        UserError: if it holds too many files, or its pictures would become very large.
    """
    directory = Directory(path.open("rb", buffering=0))
    try:
        archive = zipfile.ZipFile(directory)
    except TooManyFiles:
        raise UserError(TOO_MANY.format(shortened(path))) from None
    except Exception:  # zipfile raises many kinds of errors for broken files
        notes.leave_out(BROKEN, path.name)
        return []
    directory.opened = True
    pictures = chosen(files_in_zip(archive, path), path, notes, in_zip=True)
    if sum(file.size for file in pictures) > path.stat().st_size + MOST_ADDED:
        raise UserError(f"'{shortened(path)}' unpacks to more than {MOST_ADDED // 2**20} MiB; give fewer pictures.")
    return pictures


def is_ignored(name: str) -> bool:
    """Whether no one means a file or folder of this name as a picture, or as a folder of pictures."""
    return name.startswith(".") or name in IGNORED


def files_in_folder(folder: Path, notes: Notes) -> Iterator[File]:
    """The files in a folder and all folders in it, in the order of their names."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in folders:
            if Path(root, name).is_symlink():  # `os.walk` does not follow it, for it may lead round in a circle
                notes.add(LINKS, name)
        inside = Path(root).relative_to(folder).as_posix()
        for path in (Path(root, name) for name in sorted(names) if not is_ignored(name)):
            if path.is_file():
                yield file_at(path, "" if inside == "." else inside)


def files_in_zip(archive: zipfile.ZipFile, path: Path) -> Iterator[File]:
    """The files in a zip, in the order of their names. Nothing is written; a name that points outside counts as inside."""
    of_zip = identity_of(path)
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        parts = [part for part in Path(member.filename).parts if part not in ("/", "..")]
        if member.is_dir() or not parts or any(map(is_ignored, parts)):
            continue
        # The size is checked before unpacking: a small zip may hold a very large file.
        problem = ENCRYPTED if member.flag_bits & 1 else LARGE if member.file_size > LARGEST_FILE else ""
        identity, opened = (*of_zip, member.header_offset, member.CRC, member.file_size), partial(archive.open, member)
        yield File(Path(path, *parts), "/".join(parts[:-1]), member.file_size, opened, identity, problem)

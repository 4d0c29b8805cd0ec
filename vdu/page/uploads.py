"""Uploaded pictures: how the model will see them, and the links to them that a run reads."""

import asyncio
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vdu.data.files import SUFFIXES, shortened
from vdu.data.pictures import MOST_PICTURES, read_each
from vdu.errors import PictureWarning, UserError
from vdu.events import Progress
from vdu.page.markup import png, render
from vdu.page.session import ABSENT
from vdu.sheet import sheet
from vdu.task import shape_of

THUMBNAIL = (3, 96, 96)  # (c, h, w) of uploaded pictures for a model of unknown image shape
MOST_SHOWN = 100  # pictures of a preview
# Previews are read here, a picture of each in turn, so that many visitors take no more memory than one.
READER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
ZIP = ".zip"

# The page shows what is not used. What visitors call their files is no business of the server's log.
warnings.simplefilter("ignore", PictureWarning)

Seen = tuple[dict[Path, Tensor], list[str]]


def check_count(uploaded: Sequence[str] | None) -> None:
    """Refuse more uploads than a run can use.

    Raises:
        UserError: for more than `MOST_PICTURES`.
    """
    if len(uploaded or ()) > MOST_PICTURES:
        raise UserError(f"You gave {len(uploaded)} pictures; give at most {MOST_PICTURES}.")


def read_uploads(uploaded: Sequence[str], shape: tuple[int, int, int] | None) -> Generator[Progress, None, Seen]:
    """Read uploads: path -> picture, uint8 (c, h, w), of each that can be read, and sentences on all others.

    Raises:
        UserError: for too many pictures, or pictures of too many pixels.
    """
    check_count(uploaded)
    return (yield from read_each(map(Path, uploaded), shape or THUMBNAIL))


def save_uploads(uploaded: Sequence[str] | None, folder: Path) -> str:
    """Link the uploads into a new folder, in their order, and return its path; "" if nothing was uploaded.

    A link takes no room on the disk and outlives the upload, and what a preview has decoded is not decoded again for it.
    """
    if not uploaded:
        return ""
    folder.mkdir()
    for number, path in enumerate(map(Path, uploaded)):
        suffix = path.suffix if path.suffix.lower() in {*SUFFIXES, ZIP} else ""
        target = folder / f"{number:03d} {shortened(path.stem)}{suffix}"
        try:
            os.link(path, target)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(path, target)
    return str(folder)


class Preview:
    """The preview of one input for uploads, for all visitors."""

    def __init__(self) -> None:
        self.latest: dict[str, object] = {}  # visitor -> what identifies the preview that they wait for
        self.held: dict[str, list[str]] = {}  # visitor -> the uploads in their input

    async def show(self, uploaded: list[str] | None, model: str, request: gr.Request) -> dict[str, Any]:
        """Show uploads as the model will see them, and say what is not used; a later preview of the visitor ends this one."""
        mine = self.latest[request.session_hash] = object()
        self.held[request.session_hash] = uploaded or []

        def wanted() -> bool:
            return self.latest.get(request.session_hash) is mine

        html = ""
        try:
            seen = await in_steps(read_uploads(uploaded or [], shape_of(model)), wanted)
            if seen and any(seen):
                html = await in_reader(uploads_html, list(seen[0].values()), seen[1])
        except UserError as error:
            html = uploads_html([], [str(error).removesuffix(".")])
        finally:
            last = wanted()
            if last:
                del self.latest[request.session_hash]
        return gr.update(value=html, visible=bool(html)) if last else gr.skip()

    def in_use(self, is_here: Callable[[str, float], bool]) -> Iterator[str]:
        """The uploads in the inputs of visitors who are here; those of the others are forgotten."""
        for visitor, uploaded in list(self.held.items()):
            if is_here(visitor, ABSENT):
                yield from uploaded
            else:
                self.held.pop(visitor, None)


async def in_reader(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function, called in the thread that reads pictures."""
    return await asyncio.get_running_loop().run_in_executor(READER, function, *arguments)


async def in_steps(reading: Generator[Progress, None, Seen], wanted: Callable[[], bool]) -> Seen | None:
    """The value of a reading, a step at a time in the thread that reads pictures; None once it is not wanted any more."""
    result = []

    def step() -> bool:
        try:
            next(reading)
        except StopIteration as stop:
            result.append(stop.value)
        return not result

    while wanted() and await in_reader(step):
        pass
    reading.close()
    return result[0] if result else None


def uploads_html(images: Sequence[Tensor], left_out: list[str]) -> str:
    """HTML of pictures, uint8 (c, h, w), as the model will see them, and of sentences on what is left out or not used."""
    shown = images[:MOST_SHOWN]
    drawn = png(sheet(torch.stack([*shown]), torch.zeros(len(shown)))) if shown else None
    return render("uploads", png=drawn, count=len(images), shown=len(shown), left_out=left_out)

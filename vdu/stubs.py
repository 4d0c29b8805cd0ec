"""Gradio's type stubs, which nobody reads here."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_stubs() -> Iterator[None]:
    """A context in which to import gradio: it then writes no type stubs.

    At every import, gradio parses the source of each component and compares it with the stub beside it, which is half of the
    time that the import takes. It leaves out classes whose source is in no file, and in this context none is.
    """
    file_of = inspect.getfile

    def no_file(part: Any) -> str:
        if isinstance(part, type) and part.__module__.startswith("gradio."):
            raise OSError("no stub is wanted")
        return file_of(part)

    inspect.getfile = no_file
    try:
        yield
    finally:
        inspect.getfile = file_of

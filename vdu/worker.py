"""The one thread in which a server computes.

OpenMP gives every computing thread a team of its own. As soon as all teams together have more threads than the machine has
cores, GNU's OpenMP stops waiting actively, and every parallel region must wake its team: on two cores a run then takes half as
long again. A server answers from many threads, so it hands all computing to this one.
"""

import ctypes
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vdu")
END = object()
BUSY: list[float] = []  # when the present piece of work began; empty between two


def submit(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Compute a piece of work in the worker thread, in the caller's context, and wait for it."""
    return WORKER.submit(copy_context().run, timed, function, *arguments, **named).result()


def timed(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function, and note that the worker is busy meanwhile."""
    BUSY.append(time.monotonic())
    try:
        return function(*arguments, **named)
    finally:
        BUSY.clear()


def busy_seconds() -> float:
    """How long the present piece of work has taken so far; 0 if there is none."""
    began = BUSY[:1]
    return time.monotonic() - began[0] if began else 0.0


def trim() -> None:
    """Give memory that is free back to the system, which the C library of Linux does not do by itself."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def on_worker(function: Function) -> Function:
    """Wrap a function or generator function so that it computes in the worker thread, in the caller's context."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return submit(function, *arguments, **named)

    @functools.wraps(function)
    def stream(*arguments: Any, **named: Any) -> Iterator[Any]:
        values = function(*arguments, **named)
        try:
            while (value := submit(next, values, END)) is not END:
                yield value
        finally:
            submit(values.close)

    return stream if inspect.isgeneratorfunction(function) else call

"""The one thread in which a server computes.

OpenMP gives every computing thread a team of its own. As soon as all teams together have more threads than the machine has
cores, GNU's OpenMP stops waiting actively, and every parallel region must wake its team: on two cores a run then takes half as
long again. A server answers from many threads, so it hands all computing to this one.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vdu")
END = object()


def on_worker(function: Function) -> Function:
    """Wrap a function or generator function so that it computes in the worker thread, in the caller's context."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return WORKER.submit(copy_context().run, function, *arguments, **named).result()

    @functools.wraps(function)
    def stream(*arguments: Any, **named: Any) -> Iterator[Any]:
        values = function(*arguments, **named)
        try:
            while (value := WORKER.submit(copy_context().run, next, values, END).result()) is not END:
                yield value
        finally:
            WORKER.submit(values.close).result()

    return stream if inspect.isgeneratorfunction(function) else call

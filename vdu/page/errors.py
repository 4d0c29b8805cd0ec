"""How a `UserError` reaches the visitor."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr

from vdu.errors import UserError

Handler = TypeVar("Handler", bound=Callable[..., Any])


def shows_errors(title: str = "Error") -> Callable[[Handler], Handler]:
    """A decorator for handlers, also generators: a `UserError` is shown on the page, or returned to the API's caller.

    Args:
        title: heading above the message.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return handler(*arguments, **named)
            except UserError as error:
                raise gr.Error(str(error), title=title, print_exception=False) from error

        @functools.wraps(handler)
        def stream(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from handler(*arguments, **named)
            except UserError as error:
                raise gr.Error(str(error), title=title, print_exception=False) from error

        return stream if inspect.isgeneratorfunction(handler) else call

    return decorate

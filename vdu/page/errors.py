"""How an error reaches a visitor or a caller of the API: always as a sentence, with the traceback in the server's log only."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gradio.exceptions import InvalidPathError

from vdu.errors import UserError
from vdu.models import first_line

Handler = TypeVar("Handler", bound=Callable[..., Any])
LONGEST = 200  # letters of an unforeseen error in a sentence at most


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


class Studio(gr.Blocks):
    """The page. Every call of the browser and of the API passes through here, and what it raises is a sentence."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *arguments: Any, **named: Any) -> Any:
        """See `gr.Blocks.preprocess_data`.

        Raises:
            gr.Error: for values that cannot be used; Gradio would ignore those too many, and say nothing of all others.
        """
        if block_fn.fn is None:
            raise refusal("the browser answers it itself")
        if block_fn.api_visibility == "public" and len(inputs) > len(block_fn.inputs):
            raise refusal(f"it gives {len(inputs)} values, and {len(block_fn.inputs)} are taken")
        try:
            return await super().preprocess_data(block_fn, inputs, *arguments, **named)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise refusal("it names a file that was not uploaded; upload it first") from error
        except Exception as error:
            raise refusal(described(error)) from error

    async def process_api(self, *arguments: Any, **named: Any) -> Any:
        """See `gr.Blocks.process_api`.

        Raises:
            gr.Error: for any error, also of a handler that has already yielded.
        """
        try:
            return await super().process_api(*arguments, **named)
        except gr.Error:
            raise
        except UserError as error:  # of a handler without `shows_errors`
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            words = f"The run failed in the studio itself ({type(error).__name__}: {described(error)}); please report it."
            raise gr.Error(words) from error


def refusal(reason: str) -> gr.Error:
    """The error for a call that cannot be used, with the reason as the end of a sentence."""
    return gr.Error(f"This call cannot be used: {reason.removesuffix('.')}.", print_exception=False)


def described(error: Exception) -> str:
    """An unforeseen error in a few words."""
    return first_line(error)[:LONGEST]


def unreadable(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that has not the form of a call."""
    places = [f"{'.'.join(map(str, found['loc'][1:])) or 'body'}: {found['msg']}" for found in error.errors()]
    return JSONResponse({"detail": f"This call cannot be read: {'; '.join(places)}."}, 422)


def unanswered(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that no handler was found for, or that failed outside of all handlers."""
    words = f"This call could not be answered ({type(error).__name__}: {described(error)}): check its address, or report it."
    return JSONResponse({"detail": words}, 500)


ANSWERS = {RequestValidationError: unreadable, Exception: unanswered}  # to errors outside of `Studio`

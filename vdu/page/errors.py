"""How an error reaches a visitor or a caller of the API: always as a sentence, with the traceback in the server's log only."""

import copy
import functools
import html
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gradio import queueing
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from starlette.exceptions import HTTPException

from vdu.errors import UserError, first_line, foreseen, one_line, sentence

Handler = TypeVar("Handler", bound=Callable[..., Any])
LONGEST = 200  # letters of an unforeseen error in a sentence at most
REFUSED = "This cannot be done"
UNUSABLE = "This call cannot be used"
MOST_CALLS = 20  # of one tab under way or in the queue

# Gradio prints what a button's check refuses, and with it what the visitor typed, which is no business of the log.
queueing.print = lambda *words: None

# What Gradio says of a value -> what to do about it; {0} and {1} are parts of what it says.
OF_VALUES = {
    r"Value: (.*?)(?: \(type: .*?\))? is not in the list of choices": "'{0}' is not on offer; choose again or reload the page",
    r"Value (\S+) is less than minimum value (\S+?)\.?$": "{0} is too small; take {1} or more",
    r"Value (\S+) is greater than maximum value (\S+?)\.?$": "{0} is too large; take {1} or less",
    r"Invalid file type": "a file is of another type; upload PNG, JPEG or a zip of them",
}
# What a server says of a request -> what to do about it.
OF_REQUESTS = {
    "Not Found": "There is nothing at this address; the page is at /, and the API is described at /?view=api.",
    "Method Not Allowed": "This address does not take this method; use POST for calls and GET for files.",
    "There was an error parsing the body": "This call cannot be read: send its body as JSON.",
}


class Told(gr.Error):
    """A sentence for the caller, whose `str` is the sentence without the quotes that Gradio puts around it.

    Args:
        words: the sentence.
        title: the heading above it.
        on_page: whether the page shows it, which renders HTML and has no other place for the heading.
    """

    def __init__(self, words: str, title: str = REFUSED, on_page: bool = False) -> None:
        words = sentence(words)
        shown = f"<b>{html.escape(title)}.</b> {html.escape(words)}" if on_page else words
        super().__init__(shown, title=title, print_exception=False)
        self.words = words

    def __str__(self) -> str:
        return self.message


def shows_errors(title: str = REFUSED) -> Callable[[Handler], Handler]:
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
                raise Told(str(error), title) from error

        @functools.wraps(handler)
        def stream(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from handler(*arguments, **named)
            except UserError as error:
                raise Told(str(error), title) from error

        return stream if inspect.isgeneratorfunction(handler) else call

    return decorate


class Studio(gr.Blocks):
    """The page. Every call of the browser and of the API passes through here, and what it raises is a sentence."""

    def queue(self, *arguments: Any, **named: Any) -> "Studio":
        """See `gr.Blocks.queue`; a tab has few calls at once, so that nobody fills the memory with calls."""
        super().queue(*arguments, **named)
        queue, push = self._queue, self._queue.push

        async def push_few(body: Any, request: Any, username: str | None) -> Any:
            if len(queue.pending_event_ids_session.get(body.session_hash, ())) >= MOST_CALLS:
                return False, f"This page has {MOST_CALLS} calls under way; wait for one to end.", "error"
            return await push(body, request, username)

        queue.push = push_few
        queue.ANALYTICS_MAX_EVENTS = 100  # calls that Gradio remembers, and sums up at each error
        return self

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *arguments: Any, **named: Any) -> Any:
        """See `gr.Blocks.preprocess_data`.

        Raises:
            Told: for values that cannot be used; Gradio would ignore those too many, and say nothing of all others.
        """
        given, taken = len(inputs), len(block_fn.inputs)
        if block_fn.fn is None:
            raise refusal("the browser answers it itself; call /unlearn instead")
        if given < taken or (block_fn.api_visibility == "public" and given > taken):
            raise refusal(f"it gives {given} values; give {taken}")
        try:
            return await super().preprocess_data(block_fn, inputs, *arguments, **named)
        except gr.Error as error:
            raise refusal(of_value(error)) from error
        except InvalidPathError as error:
            raise refusal("it names a file that was not uploaded; upload it first") from error
        except Exception as error:
            raise refusal("a value has another form than its input; see the API's description at /?view=api") from error

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """See `gr.Blocks.postprocess_data`, which would make every output anew that a handler leaves as it is.

        That takes 20 ms for all outputs of a run, in which no other visitor is answered.
        """
        changed = [part for part in block_fn.outputs if part in predictions] if isinstance(predictions, dict) else []
        if not changed or len(changed) == len(block_fn.outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        few = copy.copy(block_fn)
        few.outputs = changed
        values = [predictions[part] for part in changed]
        made = iter(await super().postprocess_data(few, values if len(values) > 1 else values[0], state))
        rest = [None if part.stateful else gr.skip() for part in block_fn.outputs]
        return [next(made) if part in predictions else left for part, left in zip(block_fn.outputs, rest, strict=True)]

    async def process_api(self, block_fn: Any, *arguments: Any, **named: Any) -> Any:
        """See `gr.Blocks.process_api`.

        Raises:
            Told: for any error, also of a handler that has already yielded.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            return await super().process_api(block_fn, *arguments, **named)
        except Exception as error:
            raise told(error, on_page=function.api_visibility != "public") from error


def told(error: Exception, on_page: bool) -> Told:
    """Any error of a handler for the caller; the traceback of one that nobody foresaw is printed."""
    if isinstance(error, Told):
        return Told(error.words, error.title, on_page)
    if isinstance(error, gr.Error):
        return Told(str(error.message), REFUSED if error.title == "Error" else error.title, on_page)
    if isinstance(error, UserError):  # of a handler without `shows_errors`
        return Told(str(error), on_page=on_page)
    if words := foreseen(error):
        return Told(words, on_page=on_page)
    traceback.print_exception(error)
    words = f"The run failed in the studio itself ({type(error).__name__}: {described(error)}); please report it."
    return Told(words, "This failed", on_page)


def refusal(reason: str) -> Told:
    """The error for a call that cannot be used, with the reason as the end of a sentence."""
    return Told(f"{UNUSABLE}: {reason.removesuffix('.')}.")


def of_value(error: gr.Error) -> str:
    """What Gradio says of a value, as the end of a sentence that says what to do about it."""
    said = str(error.message)
    for pattern, words in OF_VALUES.items():
        if found := re.match(pattern, said, re.DOTALL):
            return words.format(*(part.strip("'\"") for part in found.groups()))
    return said


def described(error: Exception) -> str:
    """An unforeseen error in a few words."""
    return one_line(first_line(error))[:LONGEST]


def unreadable(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that has not the form of a call."""
    places = [f"{'.'.join(map(str, found['loc'][1:])) or 'body'}: {found['msg']}" for found in error.errors()]
    return JSONResponse({"detail": sentence(f"This call cannot be read: {'; '.join(places)}.")}, 422)


def refused(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that the server refuses before it is a call."""
    status, words = error.status_code, error.detail
    if str(words).startswith("Queue is full"):
        status, words = 429, "Too many runs are waiting; try again in a few minutes."  # of a 503 the page shows no words
    elif isinstance(words, str):
        words = OF_REQUESTS.get(words, words)
    return JSONResponse({"detail": words}, status, error.headers)


def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer to a call of something that is not there, or in which nothing can be found."""
    words = "This call cannot be answered: there is nothing by its name or number; the API is described at /?view=api."
    return JSONResponse({"detail": words}, 404)


def unanswered(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that failed outside of all handlers."""
    words = f"This call could not be answered ({type(error).__name__}: {described(error)}): check its address, or report it."
    return JSONResponse({"detail": sentence(words)}, 500)


# Class of an error outside of `Studio` -> the answer.
ANSWERS = {
    RequestValidationError: unreadable,
    HTTPException: refused,
    FnIndexInferError: unknown,
    KeyError: unknown,
    Exception: unanswered,
}

"""A limit for the size of what a caller sends, other than files."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 512 * 1024  # bytes; a call that names twice the most pictures that a run reads has 400 KiB
READ_ON = 16 * 2**20  # bytes: most clients read an answer only after they have sent all
UPLOAD = "/gradio_api/upload"  # end of the path for files; `max_file_size` of `gr.Blocks.launch` and `Gate` limit them
WITHOUT = ("GET", "HEAD", "OPTIONS")  # methods whose bodies nothing reads


def is_upload(scope: Scope) -> bool:
    """Whether a request is for the path for files; a function of that name has another, such as /gradio_api/run/upload."""
    return scope["path"].rstrip("/").endswith(UPLOAD)  # behind a proxy, more may come before


class Bodies:
    """ASGI middleware that refuses a call whose body is too large, with or without a Content-Length.

    Args:
        app: the application behind it.
        largest: bytes of a body at most.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST) -> None:
        self.app = app
        self.largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http" or scope["method"] in WITHOUT or is_upload(scope):
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []
        size, more = 0, True
        while more and size <= READ_ON:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size <= self.largest:
                messages.append(message)
        if size > self.largest:
            words = f"This call is too large: send at most {self.largest // 1024} KiB, and upload files."
            await JSONResponse({"detail": words}, 413, {"connection": "close"})(scope, receive, send)
            return
        read = iter(messages)

        async def again() -> Message:
            return next(read, None) or await receive()

        await self.app(scope, again, send)

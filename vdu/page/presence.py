"""Who is here: the middleware that sees every request, keeps count of open streams, and bounds uploads."""

import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from vdu.page.bodies import is_upload

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

STREAM = re.compile(r"/(?:heartbeat/([^/]+)|call/(?:v2/)?[^/]+/([^/]+)|queue/(data))/?$")
REMEMBERED = 3600.0  # seconds for which it is known when a visitor was last here
SPAN = 600.0  # seconds over which the uploads of an address are counted
LARGEST_UPLOAD = 200 * 2**20  # bytes of one request, which may hold several files
MOST_UPLOADED = 1024 * 2**20  # bytes per address within `SPAN`


class Presence:
    """Visitors by the hash of their session, and the streams that each has open.

    Attributes:
        streams: visitor -> number of open streams; those without one are left out.
        seen: visitor -> when they last had one, or first asked for something, by `time.monotonic`.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.streams: dict[str, int] = {}
        self.seen: dict[str, float] = {}

    def note(self, visitor: str) -> None:
        """The visitor was here just now."""
        with self.lock:
            self.seen[visitor] = time.monotonic()

    def open(self, visitor: str) -> None:
        """The visitor has opened a stream."""
        with self.lock:
            self.streams[visitor] = self.streams.get(visitor, 0) + 1
            self.seen[visitor] = time.monotonic()

    def close(self, visitor: str) -> None:
        """A stream of the visitor has ended."""
        with self.lock:
            self.streams[visitor] -= 1
            if not self.streams[visitor]:
                del self.streams[visitor]
            now = self.seen[visitor] = time.monotonic()
            for other in [one for one, when in self.seen.items() if when < now - REMEMBERED and one not in self.streams]:
                del self.seen[other]

    def is_here(self, visitor: str, seconds: float) -> bool:
        """Whether the visitor has a stream open, or had one within the last so many seconds."""
        return visitor in self.streams or time.monotonic() - self.seen.get(visitor, float("-inf")) < seconds


class Gate:
    """ASGI middleware: counts open streams, bounds uploads, and answers /healthz.

    Args:
        app: the application behind it.
        presence: keeps the count.
        health: what /healthz says; "ok" among it is whether all is well.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], presence: Presence, health: Callable[[], dict[str, Any]]) -> None:
        self.app, self.presence, self.health = app, presence, health
        self.uploads: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if path.rstrip("/") == "/healthz":
            facts = self.health()
            return await answer(send, 200 if facts["ok"] else 503, facts)
        if is_upload(scope):
            if refused := self.refused_upload(scope):
                return await answer(send, 413, refused)
            return await self.app(scope, receive, in_words(send))
        visitor = visitor_of(scope)
        if visitor is None:
            return await self.app(scope, receive, send)
        self.presence.open(visitor)
        try:
            return await self.app(scope, receive, send)
        finally:
            self.presence.close(visitor)

    def refused_upload(self, scope: Scope) -> str:
        """Why an upload is refused; "" if it is not."""
        size = dict(scope["headers"]).get(b"content-length", b"")
        if not size.isdigit():
            return "An upload must say how long it is (Content-Length); upload with the page, or with gradio_client."
        if int(size) > LARGEST_UPLOAD:
            return f"These files have {int(size) >> 20:,} MiB; upload at most {LARGEST_UPLOAD >> 20} MiB at once."
        now, past = time.monotonic(), self.uploads[(scope.get("client") or ("",))[0]]
        while past and past[0][0] < now - SPAN:
            past.popleft()
        if sum(length for _, length in past) + int(size) > MOST_UPLOADED:
            return f"A network address may upload {MOST_UPLOADED >> 20:,} MiB per ten minutes; upload this in ten minutes."
        past.append((now, int(size)))
        for address in [one for one, times in self.uploads.items() if not times or times[-1][0] < now - SPAN]:
            del self.uploads[address]
        return ""


def visitor_of(scope: Scope) -> str | None:
    """The visitor whose stream a request opens; None if it opens none."""
    found = STREAM.search(scope["path"]) if scope["method"] == "GET" else None
    if not found:
        return None
    if found[3]:
        return next(iter(parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])), None)
    return found[1] or found[2]


def in_words(send: Send) -> Send:
    """`send`, with a sentence in place of what Gradio says of a file that is too large."""
    said: list[bytes] = []

    async def told(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] == 413:
            said.append(b"")
        elif said:
            said.append(message.get("body", b""))
            if not message.get("more_body"):
                limit = re.search(rb"size of (\d+) bytes", b"".join(said))
                size = f"more than {int(limit[1]) >> 20} MiB" if limit else "too many bytes"
                await answer(send, 413, f"One of these files has {size}; save it smaller, or split the zip.")
        else:
            await send(message)

    return told


async def answer(send: Send, status: int, facts: dict[str, Any] | str) -> None:
    """Answer with JSON, or with a sentence, as the page shows it to visitors who upload."""
    body = facts.encode() if isinstance(facts, str) else json.dumps(facts).encode()
    kind = b"text/plain; charset=utf-8" if isinstance(facts, str) else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

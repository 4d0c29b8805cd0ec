"""Who has a stream open, which uploads are refused, and what /healthz says."""

import asyncio
import json

import pytest

from vdu.page import presence as module
from vdu.page.presence import Gate, Presence, visitor_of

pytestmark = pytest.mark.own_loop


@pytest.mark.parametrize(
    ("method", "path", "query", "visitor"),
    [
        ("GET", "/gradio_api/heartbeat/abc", b"", "abc"),
        ("GET", "/studio/gradio_api/queue/data", b"session_hash=abc", "abc"),
        ("GET", "/gradio_api/call/unlearn/e1", b"", "e1"),
        ("GET", "/gradio_api/call/v2/unlearn/e1", b"", "e1"),
        ("GET", "/gradio_api/queue/data", b"", None),
        ("POST", "/gradio_api/call/unlearn", b"", None),
        ("GET", "/", b"", None),
    ],
)
def test_a_visitor_is_known_by_the_stream_that_is_opened(method, path, query, visitor):
    assert visitor_of({"method": method, "path": path, "query_string": query}) == visitor


def ask(gate, path, method="GET", headers=(), query=b""):
    """(status, body) of a request."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers,
        "client": ("1.2.3.4", 5),
    }
    asyncio.run(gate(scope, None, send))
    body = b"".join(message.get("body", b"") for message in sent[1:]).decode()
    plain = dict(sent[0]["headers"]).get(b"content-type", b"").startswith(b"text/plain")
    return sent[0]["status"], body if plain else json.loads(body or "null")


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'"through"'})


def test_a_visitor_is_here_while_a_stream_is_open_and_a_while_after():
    presence, seen = Presence(), []

    async def stream(scope, receive, send):
        seen.append(presence.is_here("me", 0))
        await app(scope, receive, send)

    assert not presence.is_here("me", 60)
    ask(Gate(stream, presence, dict), "/gradio_api/queue/data", query=b"session_hash=me")
    assert seen == [True]
    assert presence.is_here("me", 60)
    assert not presence.is_here("me", 0)
    assert presence.streams == {}
    presence.note("you")
    assert presence.is_here("you", 60)


def test_a_stream_that_breaks_is_closed():
    async def broken(scope, receive, send):
        raise RuntimeError

    presence = Presence()
    with pytest.raises(RuntimeError):
        ask(Gate(broken, presence, dict), "/gradio_api/heartbeat/me")
    assert presence.streams == {}


def test_those_who_left_long_ago_are_forgotten(monkeypatch):
    presence = Presence()
    presence.note("long ago")
    monkeypatch.setattr(module, "REMEMBERED", -1.0)
    presence.open("me")
    presence.close("me")
    assert "long ago" not in presence.seen


def test_uploads_are_bounded_at_once_and_over_time():
    gate, mib = Gate(app, Presence(), dict), 2**20
    upload = lambda size: ask(gate, "/gradio_api/upload", "POST", [(b"content-length", str(size).encode())])  # noqa: E731
    assert upload(5 * mib) == (200, "through")
    assert "at most 200 MiB at once" in upload(300 * mib)[1]
    assert [upload(200 * mib)[0] for _ in range(5)] == [200] * 5
    status, words = upload(100 * mib)
    assert status == 413
    assert "upload this in ten minutes" in words
    assert upload(10 * mib) == (200, "through")
    assert "Content-Length" in ask(gate, "/gradio_api/upload", "POST")[1]


@pytest.mark.parametrize("ok", [True, False])
def test_health_is_a_status_and_facts(ok):
    assert ask(Gate(app, Presence(), lambda: {"ok": ok}), "/healthz") == (200 if ok else 503, {"ok": ok})

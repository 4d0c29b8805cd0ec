"""A visitor who means harm, in deeds that are bounded and stay on this machine."""

import asyncio
import io
import itertools
import json
import random
import re
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdu.bench.soak.ledger import Ledger
from vdu.bench.soak.visitors import ENDLESS, SMALL, show
from vdu.bench.soak.wire import API, Answer, Layout, Tab, send, words_of

if TYPE_CHECKING:
    import httpx

BURST = 20  # calls at once
LARGE, SEVERAL = 4000, 25  # pixels per side of a one-coloured picture; pictures in a zip of some 40 KiB
MEGABYTE = 2**20
CHANCE = re.compile(r"[0-9a-f]{32,}|tmp\w{8}")  # random names, which nobody guesses
ECHO = 2000  # letters that an answer to a megabyte may have
TAG = "<img src=x onerror=alert(1)>"
PROBES = ("/monitoring", "/monitoring/summary", f"{API}/monitoring", f"{API}/monitoring/summary")
FILES = ("/etc/passwd", "/proc/self/environ", "app.py", "vdu/cli.py", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd")


def bomb() -> bytes:
    """A small zip of large one-coloured pictures."""
    from PIL import Image

    out, one = io.BytesIO(), io.BytesIO()
    Image.new("P", (LARGE, LARGE)).save(one, "PNG", compress_level=9)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(SEVERAL):
            archive.writestr(f"{number:02d}.png", one.getvalue())
    return out.getvalue()


class Hostile:
    """A visitor who tries in turn whatever has once held up the others.

    Args:
        http: its client; layout: the page; ledger: where all is noted; temporary: the server's temp folder, to guess at.
    """

    def __init__(self, http: "httpx.AsyncClient", layout: Layout, ledger: Ledger, temporary: Path) -> None:
        self.http, self.layout, self.ledger, self.temporary = http, layout, ledger, temporary
        self.chance, self.bomb = random.Random("hostile"), bomb()
        self.deeds: tuple[Callable[[Tab], Awaitable[None]], ...] = (
            self.burst, self.go_around, self.zips, self.uploads, self.guess, self.megabytes, self.wrong_counts, self.endless,
        )  # fmt: skip

    async def visit(self, until: float) -> None:
        """Do all deeds once, each in a tab of its own, and again until the time `until` of `time.monotonic`."""
        try:
            for number, deed in enumerate(itertools.cycle(self.deeds)):
                if number >= len(self.deeds) and time.monotonic() >= until:
                    return
                tab = Tab(self.http, self.layout, f"hostile{number:05d}")
                await deed(tab)
                await tab.close()
                await asyncio.sleep(0.2)
        finally:
            await self.http.aclose()

    def note(self, what: str, answer: Answer) -> Answer:
        """Note an answer; an echo of what was sent is a breach."""
        self.ledger.note(f"hostile, {what}", answer)
        # The API answers in plain text; what the page renders must be escaped.
        if answer.refused and (len(answer.said) > ECHO or (TAG in answer.said and answer.said.startswith("<b>"))):
            self.ledger.breaches.append(f"{what} is echoed: {answer.said[:60]!r}")
        return answer

    async def burst(self, tab: Tab) -> None:
        """Many runs at once of one tab, whose streams nobody opens; and Stop must still be answered."""
        many = [tab.join("run", SMALL | {"forget": "7", "seed": 7}, listen=False) for _ in range(BURST)]
        for answer in await asyncio.gather(*many):
            self.note("a burst", answer)
        self.ledger.note("Stop after a burst", await tab.ask("stop", {}), quick=True)

    async def go_around(self, tab: Tab) -> None:
        """Runs by the routes that go round the queue: none may compute."""
        listener = self.layout.listener("run")
        body = {"fn_index": listener["id"], "session_hash": tab.session, "data": self.layout.data(listener, SMALL)}
        direct = [send(self.http, "POST", f"{API}/run/predict", json=body) for _ in range(BURST // 4)]
        named = [send(self.http, "POST", f"{API}/{way}/unlearn", json={"data": ["mnist-ddpm", "3", SMALL]})
                 for way in ("run", "api") for _ in range(BURST // 4)]  # fmt: skip
        for answer in await asyncio.gather(*direct, *named):
            self.note("a direct route", answer)
            if answer.status == 200:
                self.ledger.breaches.append("a run was computed past the queue")

    async def zips(self, tab: Tab) -> None:
        """A small zip of large pictures, to be shown."""
        await show(tab, self.ledger, [("files", ("large.zip", self.bomb, "application/zip"))])

    async def uploads(self, tab: Tab) -> None:
        """Megabytes in a row that nobody uses."""
        for number in range(5):
            content = self.chance.randbytes(MEGABYTE)
            files = [("files", (f"{number}.png", content, "image/png"))]
            self.note("an upload", await send(self.http, "POST", f"{API}/upload", files=files))

    async def guess(self, tab: Tab) -> None:
        """Files of the machine and of others, and what is told of them."""
        inside = [path.relative_to(self.temporary) for path in sorted(self.temporary.rglob("*"))]
        folders = [str(self.temporary / path) for path in inside if not any(map(CHANCE.fullmatch, path.parts))][:20]
        for path in (*FILES, str(self.temporary), *folders):
            answer = await send(self.http, "GET", f"{API}/file={path}")
            if answer.status == 200:
                self.ledger.breaches.append(f"a file was given: {path.replace(str(self.temporary), 'TEMP')}")
        for path in PROBES:
            if (await send(self.http, "GET", path)).status == 200:
                self.ledger.breaches.append(f"{path} is open")

    async def megabytes(self, tab: Tab) -> None:
        """Values of a megabyte, and HTML."""
        for what, value in (("a megabyte", "x" * MEGABYTE), ("HTML", TAG), ("a deep list", "[" * 10_000)):
            self.note(what, await self.order(["mnist-ddpm", value, SMALL]))
            self.note(what, await self.order([value, "3", SMALL]))
            self.note(what, await self.order(["mnist-ddpm", "3", SMALL | {"method": value}]))
            self.note(what, await tab.join("run", SMALL | {"forget": value, "typed": value}, listen=False))

    async def wrong_counts(self, tab: Tab) -> None:
        """Too few values, too many, and those of the wrong kind."""
        for data in ([], ["mnist-ddpm"], ["mnist-ddpm", "3", SMALL, 4, 5], ["mnist-ddpm", "3", [1]], [None, None, None],
                     [{}, [], 0], ["mnist-ddpm", "3", {"recipe": {}}], ["mnist-ddpm", "3", {"model": "tiny-sd"}]):  # fmt: skip
            self.note("wrong values", await self.order(data))
        for body in (b"", b"{", b"[]", b'{"data": 3}', b'{"data": [NaN]}'):
            headers = {"Content-Type": "application/json"}
            self.note("no JSON", await send(self.http, "POST", f"{API}/call/unlearn", content=body, headers=headers))

    async def endless(self, tab: Tab) -> None:
        """A run of hours, whose stream nobody opens."""
        rest = {name: value for name, value in ENDLESS.items() if name not in ("model", "forget")}
        answer = await send(self.http, "POST", f"{API}/call/unlearn", json={"data": ["mnist-ddpm", "3", rest]})
        self.note("a run of hours", answer)

    async def order(self, data: list[Any]) -> Answer:
        """Call the API with some values, which it must refuse, and wait for the refusal."""
        import httpx

        answer = await send(self.http, "POST", f"{API}/call/unlearn", json={"data": data})
        if not answer.ok:
            return answer
        try:
            async with self.http.stream("GET", f"{API}/call/unlearn/{answer.data[0]['event_id']}") as stream:
                kind = ""
                async for line in stream.aiter_lines():
                    kind = line[7:] if line.startswith("event: ") else kind
                    if line.startswith("data: ") and kind in ("error", "complete"):
                        said = words_of(json.loads(line[6:])) if kind == "error" else ""
                        status = 500 if kind == "error" else 200
                        self.ledger.breaches += [] if kind == "error" else ["wrong values were run"]
                        return Answer(status, said=said)
        except httpx.HTTPError as error:
            return Answer(0, said=type(error).__name__)
        return Answer(0, said="the stream ended")

"""Processes that die at the worst moment, and what the next one finds."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from vdu.bench.soak.judging import Row, bound_row, count_row, figures_of
from vdu.bench.soak.runs import Recipe, api_run, page_run
from vdu.bench.soak.server import Server
from vdu.bench.soak.visitors import LONG, NAMED, SMALL
from vdu.bench.soak.wire import API, Layout, Tab, client, send

ESTIMATED: Recipe = SMALL | NAMED | {"method": "vdu", "posterior": "layers"}  # writes its posterior into the cache
LONGEST = 120.0  # seconds in which each of these moments must come
SETTLED = 2.0  # seconds after its start in which a process has removed what a dead one left


async def in_a_run(server: Server, layout: Layout) -> None:
    """Return while a run is under way."""
    async with client(server.base) as http:
        tab = Tab(http, layout, "crash-run")
        answer = await tab.join("run", LONG | NAMED)
        async for message in tab.events(answer.data[0]):
            if message["msg"] in ("process_generating", "lost", "process_completed"):
                break
        await asyncio.sleep(0.5)
        server.kill()
        await tab.close()


async def in_a_download(server: Server, layout: Layout) -> None:
    """Return while the model of a finished run is being downloaded."""
    async with client(server.base) as http:
        tab = Tab(http, layout, "crash-download")
        end = await page_run(tab, SMALL | NAMED)
        async with http.stream("GET", end.address or "/") as stream:
            async for _ in stream.aiter_raw():
                break
            server.kill()
        await tab.close()


async def in_a_cache_write(server: Server, layout: Layout) -> None:
    """Return while an estimate is being written into the cache, where there was none."""
    for path in server.cache.glob("*.safetensors"):
        path.unlink()
    rest = {name: value for name, value in ESTIMATED.items() if name not in ("model", "forget")}
    await asyncio.gather(listen(server, rest), until_written(server))


async def listen(server: Server, rest: Recipe) -> None:
    """Order a run that estimates, and read its stream until it breaks."""
    import httpx

    async with client(server.base) as http:
        answer = await send(http, "POST", f"{API}/call/unlearn", json={"data": ["mnist-ddpm", "3", rest]})
        with suppress(httpx.HTTPError):
            async with http.stream("GET", f"{API}/call/unlearn/{answer.data[0]['event_id']}") as stream:
                async for _ in stream.aiter_lines():
                    pass


async def until_written(server: Server) -> None:
    """Kill the server as soon as anything is in its cache."""
    while not any(server.cache.iterdir()):
        await asyncio.sleep(0.001)
    server.kill()


MOMENTS: dict[str, Callable[[Server, Layout], Awaitable[None]]] = {
    "a run": in_a_run, "a download": in_a_download, "a cache write": in_a_cache_write,
}  # fmt: skip


async def crash(work: Path, show: Callable[[str], object]) -> list[Row]:
    """Kill the app in each of `MOMENTS`, start it again, and see what is left and what is read.

    Returns:
        rows on what dead processes left, on figures after them, and on what is left after a clean end.
    """
    expected = await alone(work / "expected")
    rows, wrong = [], []
    with Server(work / "crashed") as server:
        layout = await server.start()
        for name, moment in MOMENTS.items():
            try:
                await asyncio.wait_for(moment(server, layout), LONGEST)
            except TimeoutError:
                wrong.append(f"{name} did not come within {LONGEST:.0f} s")
                server.kill()
            dead = marked(server.files())
            layout = await server.start()
            await asyncio.sleep(SETTLED)
            left = sorted(str(path.relative_to(work)) for path, _ in dead & marked(server.files()))
            rows.append(count_row(f"kill -9 in {name}: files of {len(dead)} left after the next start", left))
            async with client(server.base) as http:
                end = await api_run(http, ESTIMATED)
            if end.report is None or figures_of(end.report) != expected:
                wrong.append(f"after {name}: {end.outcome} {end.said}")
            show(f"killed in {name}: {len(left)} of {len(dead)} files left")
        rows.append(count_row("runs after a kill with other figures than without the kill", wrong))
        async with client(server.base) as http:
            tab = Tab(http, layout, "last")
            await page_run(tab, SMALL | NAMED)
            seconds = await server.terminate()
            await tab.close()
        rows.append(bound_row("SIGTERM with an open tab: until the process has ended", seconds, 20, digits=1))
        rows.append(count_row("SIGTERM: files left", sorted(path.name for path in server.files())))
    return rows


def marked(paths: Iterable[Path]) -> set[tuple[Path, int]]:
    """Paths that exist, each with what tells it from a later one of the same name."""
    return {(path, path.stat().st_ino) for path in paths if path.exists()}


async def alone(work: Path) -> Recipe | None:
    """The figures of `ESTIMATED` from a process that nobody kills, with a cache of its own."""
    with Server(work) as server:
        await server.start()
        async with client(server.base) as http:
            end = await api_run(http, ESTIMATED)
    return figures_of(end.report) if end.report else None

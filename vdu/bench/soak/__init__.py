"""`python -m vdu bench soak`: a classroom on one small machine, with one among them who means harm.

The app runs in a process of its own and is seen from outside alone: what it answers, its memory, its files, its log. All
addresses are of this machine.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vdu.bench.soak import judging
from vdu.bench.soak.crash import crash
from vdu.bench.soak.hostile import Hostile
from vdu.bench.soak.judging import Row, bound_row, count_row, growth_row, quantile_row, same_row
from vdu.bench.soak.ledger import Ledger
from vdu.bench.soak.runs import api_run, page_run
from vdu.bench.soak.server import Server, own_address, watch
from vdu.bench.soak.visitors import LONG, NAMED, SMALL, Visitor, recipe_of
from vdu.bench.soak.wire import API, Layout, Tab, client, send
from vdu.bench.tables import check_place, table, write_between

WHOLE = 1.0  # minutes from which all phases are run, by 30 visitors; below, a few visitors in the first two
VISITORS, FEW = 30, 2
CYCLES, CYCLES_PER_MINUTE, CYCLE = 200, 20, 15.0  # of start and stop; seconds that one may take on average
WARM = 50  # runs after which memory must not grow
MOST_LINES = 30  # about one row, printed on the terminal; the table shows only the first
SPARE = 2**20  # bytes that the files on disk may have grown by after the visitors
GROWTH = 0.1  # share by which the memory may grow after that
OWNERLESS = 35.0  # seconds within which a run without an owner must have ended
GRACE = 300.0  # seconds that visitors have at the end to finish what they began
QUIET = 420.0  # seconds after the last visitor within which files must be deleted; unused uploads stay for 300
MARKS = "<!-- soak: the table below is made by `python -m vdu bench soak` -->", "<!-- /soak -->"


@dataclass
class Seen:
    """What was seen of the process.

    Attributes:
        memory: (finished runs, bytes).
        before, after: (open files, threads) of the idle process.
        stored: bytes on disk, before the first visitor and at the end.
        ownerless: seconds until the next visitor's run began.
        unfinished: cycles that went wrong.
    """

    memory: list[tuple[int, int]] = field(default_factory=list)
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)
    stored: tuple[int, int] = (0, 0)
    ownerless: list[float] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def soak(minutes: float, show: Callable[[str], object], out: Path | None = None) -> bool:
    """Run all phases, print the table, and write it between the marks of a page.

    Args:
        minutes: of the first phase; show: gets a line now and then; out: the page, if any.

    Returns:
        whether every row held, and, of a whole soak, was measured.

    Raises:
        UserError: if the page has no marks, or the app does not start.
    """
    if out is not None:
        check_place(out, MARKS)
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        rows = asyncio.run(all_phases(Path(work), minutes, show))
    made = table(["measure", "target", "measured", "verdict"], [row.cells for row in rows])
    for row in rows:
        for line, count in Counter(row.found).most_common(MOST_LINES):
            show(f"{row.what}, {count} times: {line}")
    print(made)
    if out is not None:
        write_between(out, MARKS, made)
    return all(row.held or (row.held is None and minutes < WHOLE) for row in rows)


async def all_phases(work: Path, minutes: float, show: Callable[[str], object]) -> list[Row]:
    """Rows of a soak whose first phase takes some minutes."""
    ledger, seen = Ledger(), Seen()
    with Server(work / "server") as server:
        layout = await server.start()
        await mixed(server, layout, ledger, seen, minutes, show)
        rows = rows_of(ledger, seen)
        seconds = await server.terminate()
    rows.append(bound_row("SIGTERM: until the process has ended", seconds, 20, digits=1))
    rows.append(count_row("SIGTERM: files left in the temp folder", sorted(path.name for path in server.files())))
    rows.append(count_row("tracebacks in the log", [f"{line} ({count})" for line, count in server.tracebacks().items()]))
    return rows + (await crash(work, show) if minutes >= WHOLE else [])


async def mixed(
    server: Server, layout: Layout, ledger: Ledger, seen: Seen, minutes: float, show: Callable[[str], object]
) -> None:
    """The phases of one process: every recipe alone, all visitors at once, start and stop, runs without owners, quiet."""
    many = VISITORS if minutes >= WHOLE else FEW
    stored = server.stored()
    await every_recipe_alone(server, layout, ledger, many)
    seen.before = server.handles()
    watching = asyncio.create_task(watch(server, ledger, seen.memory))
    show(f"{many} visitors for {minutes:g} minutes")
    until = time.monotonic() + 60 * minutes
    visitors = [Visitor(number, client(server.base, own_address(number)), layout, ledger) for number in range(many)]
    hostile = Hostile(client(server.base, own_address(many)), layout, ledger, server.temporary)
    tasks = [asyncio.create_task(one.visit(until)) for one in (*visitors, hostile)]
    late = await finish(tasks, 60 * minutes + (GRACE if minutes >= WHOLE else 60), ledger)
    show(f"{dict(ledger.runs)}, {late} visitors still waiting")
    await cycles(server, layout, ledger, seen, round(min(CYCLES, CYCLES_PER_MINUTE * minutes)) or 2)
    show(f"start and stop: {len(seen.unfinished)} went wrong")
    if minutes >= WHOLE:
        await owners(server, layout, seen)
        show(f"runs without owner: {seen.ownerless}")
        await asyncio.sleep(OWNERLESS)
        await until_small(server, stored)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await asyncio.sleep(1)
    seen.memory.append((ledger.runs["finished"] + ledger.runs["stopped"], server.memory()))
    seen.after, seen.stored = server.handles(), (stored, server.stored())


async def until_small(server: Server, stored: int) -> None:
    """Wait until the files of all visitors are deleted, or for `QUIET` seconds."""
    until = time.monotonic() + QUIET
    while server.stored() > stored + SPARE and time.monotonic() < until:
        await asyncio.sleep(1)


async def finish(tasks: list[asyncio.Task], seconds: float, ledger: Ledger) -> int:
    """Wait for visitors; those who are still there after some seconds have lost what they wait for. Returns how many."""
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
        ledger.lost.append("a visitor still waits long after the end")
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    return len(late)


async def every_recipe_alone(server: Server, layout: Layout, ledger: Ledger, many: int) -> None:
    """Run each visitor's recipe with nobody else there, by the API and by the page in turn."""
    for number in range(many):
        async with client(server.base) as http:
            recipe = recipe_of(number)
            if number % 2:
                tab = Tab(http, layout, f"alone{number:02d}")
                end = await page_run(tab, recipe)
                await tab.close()
            else:
                end = await api_run(http, recipe)
        if end.report is None:
            ledger.lost.append(f"the recipe of visitor {number}, alone: {end.outcome} {end.said}")
        else:
            ledger.alone[number] = judging.figures_of(end.report)


async def cycles(server: Server, layout: Layout, ledger: Ledger, seen: Seen, count: int) -> None:
    """One visitor starts a run and stops it, again and again."""
    done = 0

    async def one_after_another(tab: Tab) -> None:
        nonlocal done
        for number in range(count):
            end = await page_run(tab, SMALL | NAMED, stop=0.1 * (number % 6), at_once=number % 2 == 1)
            ledger.note_run(end, NAMED, None)
            done += 1
            if end.outcome not in ("stopped", "finished"):
                seen.unfinished.append(f"{end.outcome} {end.said}")
                await asyncio.sleep(1)

    async with client(server.base) as http:
        tab = Tab(http, layout, "cycles")
        with suppress(TimeoutError):
            await asyncio.wait_for(one_after_another(tab), CYCLE * count)
        seen.unfinished += ["it came too late"] * (count - done)
        await tab.close()


async def owners(server: Server, layout: Layout, seen: Seen) -> None:
    """Start long runs whose owner leaves, or never comes, each time followed by a visitor who wants a run."""

    async def tab_closed() -> None:
        async with client(server.base) as http:
            await page_run(Tab(http, layout, "owner-leaves"), LONG | NAMED, leave=1)

    async def never_opened() -> None:
        async with client(server.base) as http:
            tab = Tab(http, layout, "owner-never-listens")
            await tab.join("run", LONG | NAMED, listen=False)
            await tab.close()

    async def never_fetched() -> None:
        async with client(server.base) as http:
            await send(http, "POST", f"{API}/call/unlearn", json={"data": ["mnist-ddpm", "3", LONG]})

    for leave in (tab_closed, never_opened, never_fetched):
        await leave()
        started = time.monotonic()
        async with client(server.base) as http:
            with suppress(TimeoutError):
                await asyncio.wait_for(api_run(http, SMALL | NAMED, leave=0), 4 * OWNERLESS)
        seen.ownerless.append(time.monotonic() - started)


def rows_of(ledger: Ledger, seen: Seen) -> list[Row]:
    """The table of the phases of one process."""
    runs, error = ledger.runs, judging.waiting_error(ledger.waits)
    asked = ", ".join(f"{runs[name]} {name}" for name in ("finished", "stopped", "refused", "left", "lost"))
    warm = next((held for count, held in seen.memory if count >= WARM), None)
    return [
        Row("runs", "all accounted for", f"{runs['asked']} asked: {asked}", runs["asked"] == runs.total() - runs["asked"]),
        count_row("answers that never came", ledger.lost),
        count_row("reports of others, or with other figures than alone", ledger.crossed),
        count_row("refusals that are no sentence", ledger.mute),
        Row("refusals in sentences", "–", str(ledger.refusals.total() - len(ledger.mute)), True),
        count_row("what a hostile visitor was given", ledger.breaches),
        count_row("times that /healthz was not well", ledger.unwell),
        quantile_row("Stop, snapshots, choices, previews, bad input", ledger.quick, 0.5),
        quantile_row("GET /", {"GET /": ledger.front} if ledger.front else {}, 0.5),
        bound_row("Stop, until the run has ended, the slowest", max(ledger.stops, default=None), 2),
        Row("wait told against wait had, median", "within 30 %", "–" if error is None else f"{error:.0%}",
            None if error is None else error <= 0.3),
        count_row("waits above 5 s of which nothing was told", ledger.untold),
        bound_row("a run without owner, until it has ended", max(seen.ownerless, default=None), OWNERLESS, digits=1),
        count_row("cycles of start and stop that went wrong", seen.unfinished),
        growth_row(f"memory after {WARM} runs and at the end", warm, seen.memory[-1][1] if seen.memory else None, GROWTH),
        same_row("open files, before and after", seen.before[0], seen.after[0], 8),
        same_row("threads, before and after", seen.before[1], seen.after[1], 12),
        bound_row("disk, more than before", (seen.stored[1] - seen.stored[0]) / 2**20, SPARE / 2**20, "MiB", 1),
    ]  # fmt: skip

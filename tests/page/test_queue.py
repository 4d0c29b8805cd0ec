"""The ways round the queue and the ways to fill it, by the routes that a browser and a script have."""

import asyncio
import time

import pytest

from vdu.bench.soak.visitors import SMALL
from vdu.bench.soak.wire import API, Layout, Tab, client, send
from vdu.page import Settings, build, launch_options, turns
from vdu.page import errors as module
from vdu.recipe import Recipe

pytestmark = pytest.mark.own_loop

NAMED = SMALL | {"model": "mnist-ddpm", "forget": "3"}
ORDER = {"data": ["mnist-ddpm", "3", SMALL]}
SOON = 20.0  # seconds in which an answer comes on a busy machine, where nothing has to wait


@pytest.fixture(scope="module")
def server():
    """(page, address) of a server whose only turn is taken, so that every run waits and nothing is computed."""
    demo = build(Settings(queue_length=3, run_minutes=10))
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(demo))
    yield demo.page, address.rstrip("/")
    demo.close()


@pytest.fixture(autouse=True)
def taken(server, monkeypatch):
    """The ticket of the visitor who computes."""
    page, _ = server
    monkeypatch.setattr(turns, "LOOK", 0.05)
    page.presence.note("other")
    monkeypatch.setattr(
        page.turns, "is_here", lambda visitor, seconds: visitor == "other" or page.presence.is_here(visitor, seconds)
    )
    page.turns.ask("other", "elsewhere", 30.0)
    ticket = page.turns.take("other")
    assert page.turns.begin(ticket)
    yield ticket
    for one in [*page.turns.waiting, ticket]:
        one.stopped.set()
    page.turns.end(ticket)
    until = time.monotonic() + SOON
    while page.turns.waiting and time.monotonic() < until:
        time.sleep(0.05)
    assert not page.turns.waiting


def scene(server, act):
    """The value of `act(http, layout)`, a coroutine, with a client of the server."""

    async def play():
        async with client(server[1]) as http:
            layout = Layout((await send(http, "GET", "/config")).data[0])
            return await asyncio.wait_for(act(http, layout), 60)

    return asyncio.run(play())


def test_a_burst_of_runs_gets_one_place_and_holds_up_nothing_that_is_free(server):
    async def act(http, layout):
        tab = Tab(http, layout, "burst")
        joined = await asyncio.gather(*(tab.join("run", NAMED, listen=False) for _ in range(20)))
        waiting = len(server[0].turns.waiting)
        free = [await tab.choose("mnist-ddpm"), await tab.ask("snapshot", {"snapshot": 0}), await tab.ask("stop", {})]
        bad = await tab.join("run", NAMED | {"steps": -1})
        await tab.close()
        return joined, waiting, free, bad

    joined, waiting, free, bad = scene(server, act)
    assert waiting == sum(answer.ok for answer in joined) == 1
    refused = {answer.said for answer in joined if not answer.ok}
    assert refused == {"<b>This cannot be run.</b> You already have a run that is waiting; press Stop first, or wait for it."}
    assert all(answer.ok and answer.seconds < SOON for answer in free)
    assert bad.said.startswith("<b>This cannot be run.</b> Steps must be a whole number")


def test_a_full_queue_says_when_to_come_back_and_stop_still_works(server):
    async def act(http, layout):
        tabs = [Tab(http, layout, f"full{number}") for number in range(4)]
        joined = [await tab.join("run", NAMED) for tab in tabs]
        stopped = await tabs[0].ask("stop", {})
        messages = [message["msg"] async for message in tabs[0].events(joined[0].data[0])]
        again = await tabs[3].join("run", NAMED)
        for tab in tabs:
            await tab.ask("stop", {})
            await tab.close()
        return joined, stopped, messages, again

    joined, stopped, messages, again = scene(server, act)
    assert [answer.ok for answer in joined] == [True, True, True, False]
    assert "3 runs already wait here, and no more can; come back in about" in joined[3].said
    assert stopped.ok
    assert messages[-1] == "process_completed"
    assert again.ok


def test_no_route_goes_round_the_queue(server):
    async def act(http, layout):
        listener = layout.listener("run")
        body = {"fn_index": listener["id"], "session_hash": "round", "data": layout.data(listener, NAMED)}
        direct = [await send(http, "POST", f"{API}/{way}", json=body) for way in ("run/predict", "api/predict")]
        return direct + [await send(http, "POST", f"{API}/{way}/unlearn", json=ORDER) for way in ("run", "api")]

    answers = scene(server, act)
    assert [answer for answer in answers if answer.ok or answer.said[-1:] != "."] == []


@pytest.mark.parametrize("path", ["/monitoring", "/monitoring/summary", f"{API}/monitoring", f"{API}/monitoring/summary"])
def test_nothing_is_told_of_other_visitors(server, path):
    assert scene(server, lambda http, layout: send(http, "GET", path)).status in (403, 404)


def test_a_caller_who_waits_is_told_how_long_and_one_who_never_listens_loses_the_place(server, monkeypatch):
    monkeypatch.setattr(turns, "GONE", 1.0)
    monkeypatch.setattr(turns, "TELL", 0.2)

    async def act(http, layout):
        first, second = [await send(http, "POST", f"{API}/call/unlearn", json=ORDER) for _ in range(2)]
        told, until = "", time.monotonic() + SOON
        async with http.stream("GET", f"{API}/call/unlearn/{first.data[0]['event_id']}") as stream:
            async for line in stream.aiter_lines():
                told = told or (line if line.startswith("data: [{") else "")
                if (told and len(server[0].turns.waiting) == 1) or time.monotonic() > until:
                    break
            left = [ticket.visitor for ticket in server[0].turns.waiting]
        return told, left, first.data[0]["event_id"], second.data[0]["event_id"]

    told, left, first, second = scene(server, act)
    assert '"phase": "waiting"' in told
    assert '"total": 1' in told
    assert first != second
    assert left == [first]


def test_a_tab_has_few_calls_at_once(server, monkeypatch):
    monkeypatch.setattr(module, "MOST_CALLS", 1)

    async def act(http, layout):
        tab = Tab(http, layout, "many")
        first = await tab.join("run", NAMED)
        second = await tab.join("preview", {"pictures": None})
        await tab.ask("stop", {})
        await tab.close()
        return first, second

    first, second = scene(server, act)
    assert first.ok
    assert second.said == "This page has 1 calls under way; wait for one to end."


def test_a_run_that_would_take_too_long_is_refused_before_it_waits(server):
    long = SMALL | {"samples": 20_000, "sampler_steps": 100}
    seconds = server[0].pace.seconds(Recipe.from_dict(NAMED | long))
    answer = scene(server, lambda http, layout: Tab(http, layout, "long").join("run", NAMED | long, listen=False))
    assert f"This run would take about {seconds / 60:.0f} minutes here, and a run may take 10;" in answer.said
    assert not server[0].turns.waiting


def test_what_a_visitor_types_is_not_in_the_log(server, capfd):
    answer = scene(
        server,
        lambda http, layout: Tab(http, layout, "typed").join("run", NAMED | {"typed": "my secret wish"}, listen=False),
    )
    assert "my secret wish" in answer.said
    printed = capfd.readouterr()
    assert "secret" not in printed.out + printed.err

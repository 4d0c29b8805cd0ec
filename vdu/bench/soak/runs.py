"""One run as its client sees it: on the page, and by the API."""

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vdu.bench.soak.wire import API, RunEnd, Tab, addresses, is_waiting, send, waiting_seconds, words_of

if TYPE_CHECKING:
    import httpx

Recipe = dict[str, Any]


async def page_run(
    tab: Tab, recipe: Recipe, stop: float | None = None, leave: float | None = None, at_once: bool = False
) -> RunEnd:
    """Press Unlearn, and watch the run to its end.

    Args:
        stop: seconds after which Stop is pressed, counted from the run's first progress or, with `at_once`, from Unlearn.
        leave: seconds after the first progress at which the tab is closed.
    """
    answer = await tab.choose(recipe["model"]) if recipe.get("model", tab.model) != tab.model else None
    asked, listener = time.monotonic(), tab.layout.listener("run")
    if answer is None or answer.ok:
        answer = await tab.join("run", recipe)
    if not answer.ok:
        return RunEnd("refused" if answer.status else "lost", said=answer.said)
    end, pressed, started = RunEnd("lost"), 0.0, 0.0
    guessed: float | None = None  # by Gradio itself

    async def press_stop(after: float) -> None:
        nonlocal pressed
        await asyncio.sleep(after)
        pressed = time.monotonic()
        end.stop = await tab.ask("stop", {})

    pressing = asyncio.create_task(press_stop(stop)) if stop is not None and at_once else None
    async for message in tab.events(answer.data[0]):
        words = tab.layout.status(listener, (message.get("output") or {}).get("data", []))
        if message["msg"] == "estimation" and guessed is None:
            guessed = message.get("rank_eta")
        if end.told is None and not started:
            end.told = waiting_seconds(words)
        begun = message["msg"] == "process_generating" and words and not is_waiting(words) and "Stopped" not in words
        if begun and not started:
            started = time.monotonic()
            end.had = started - asked
            pressing = asyncio.create_task(press_stop(stop)) if stop is not None and not pressing else pressing
        if leave is not None and started and time.monotonic() - started >= leave:
            if pressing:
                pressing.cancel()
            await tab.close()
            end.outcome = "left"
            break
        if message["msg"] == "lost":
            end.said = message["message"]
        if message["msg"] == "process_completed":
            end.stopping = time.monotonic() - pressed if pressed else 0.0
            end.outcome = "refused" if not message["success"] else "stopped" if "Stopped" in words else "finished"
            end.said = "" if message["success"] else words_of(message["output"])
            await fetch_report(tab, end, addresses(message["output"].get("data", [])))
    end.told = guessed if end.told is None else end.told
    if pressing and pressed:
        await pressing  # the answer to Stop may come after the end of the run
    elif pressing:
        pressing.cancel()
    return end


async def fetch_report(tab: Tab, end: RunEnd, found: list[str]) -> None:
    """Download the report that a run offers."""
    end.address = next((address for address in found if address.endswith(".zip")), "")
    if address := next((address for address in found if address.endswith("report.json")), ""):
        answer = await send(tab.http, "GET", address)
        if answer.status == 200 and isinstance(answer.data[0], dict):
            end.report = answer.data[0]


async def api_run(http: "httpx.AsyncClient", recipe: Recipe, leave: float | None = None) -> RunEnd:
    """Call the API and read its stream to the end, or hang up `leave` seconds after the first progress."""
    import httpx

    asked = time.monotonic()
    rest = {name: value for name, value in recipe.items() if name not in ("model", "forget")}
    answer = await send(http, "POST", f"{API}/call/unlearn", json={"data": [recipe["model"], recipe["forget"], rest]})
    if not answer.ok:
        return RunEnd("refused" if answer.status else "lost", said=answer.said)
    end, kind = RunEnd("lost", said="the stream ended"), ""
    with suppress(httpx.HTTPError):
        async with http.stream("GET", f"{API}/call/unlearn/{answer.data[0]['event_id']}") as stream:
            async for line in stream.aiter_lines():
                kind = line[7:] if line.startswith("event: ") else kind
                if not line.startswith("data: "):
                    continue
                content = json.loads(line[6:])
                event = content[0] if isinstance(content, list) and content else content
                if kind == "error":
                    return RunEnd("refused", said=words_of(content), told=end.told, had=end.had)
                if kind not in ("generating", "complete"):
                    continue
                if is_waiting(event):
                    end.told = waiting_seconds(event) if end.told is None else end.told
                    continue
                end.had = end.had or time.monotonic() - asked
                if leave is not None and time.monotonic() - asked - end.had >= leave:
                    return RunEnd("left", told=end.told, had=end.had)
                if isinstance(event, dict) and "recipe" in event:
                    end.report = event
                if kind == "complete":
                    end.outcome, end.said = "finished", ""
                    return end
    return end

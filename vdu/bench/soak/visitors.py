"""Visitors of the page and callers of the API: what they do, and what they note of the answers."""

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from vdu.bench.soak.ledger import Ledger
from vdu.bench.soak.runs import Recipe, api_run, page_run
from vdu.bench.soak.wire import API, Answer, Layout, RunEnd, Tab, send, words_of

if TYPE_CHECKING:
    import httpx

NAMED = {"model": "mnist-ddpm", "forget": "3", "seed": 5}
SMALL = {"samples": 50, "replay": 24, "steps": 2, "preview_every": 2, "sampler_steps": 2, "batch_size": 2}
LONG = SMALL | {"samples": 5000, "sampler_steps": 20}  # minutes, and yet within a shared server's bound
ENDLESS = SMALL | {"samples": 20_000, "sampler_steps": 100}  # hours
MODELS = ("mnist-ddpm", "mnist-ddpm", "mnist-ddpm", "mnist-ddpm", "tiny-sd")
FORGET = {"mnist-ddpm": [str(digit) for digit in range(10)], "tiny-sd": ["red", "blue", "sneaker", "shirt"]}
BAD_INPUT: dict[str, Recipe] = {
    "a negative seed": {"seed": -1}, "a seed of text": {"seed": "seven"}, "a fraction of a step": {"steps": 1.5},
    "too many samples": {"samples": 10**9}, "no samples": {"samples": None}, "a list": {"steps": [1]},
    "a method of no name": {"method": "../../etc/passwd"}, "a model that is a path": {"model": "/etc"},
    "a class of no name": {"forget": "", "typed": "cat"}, "a script": {"typed": "<script>alert(1)</script>"},
    "not a number": {"gamma": "NaN"}, "timesteps in the wrong order": {"t_min": 900, "t_max": 10},
    "a file that was not uploaded": {"pictures": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
}  # fmt: skip
PAUSE, PATIENCE = 0.5, 3.0  # seconds between two acts of a visitor, and after a refused run, at most


def recipe_of(number: int) -> Recipe:
    """The recipe of a visitor, which no other visitor has."""
    model = MODELS[number % len(MODELS)]
    return SMALL | {"model": model, "forget": FORGET[model][number % len(FORGET[model])], "seed": 1000 + number}


class Visitor:
    """One of many: opens a tab, does some things at random, closes it, and comes again.

    Args:
        number: its number, which sets its recipe and its random choices.
        http: its client; layout: the page; ledger: where all is noted.
    """

    def __init__(self, number: int, http: "httpx.AsyncClient", layout: Layout, ledger: Ledger) -> None:
        self.number, self.http, self.layout, self.ledger = number, http, layout, ledger
        self.recipe, self.chance = recipe_of(number), random.Random(number)
        self.tabs = 0
        self.deeds = {  # what a visitor does, and how often
            self.run: 4, self.stop: 3, self.leave: 1, self.call: 3, self.hang_up: 1, self.never_open: 1, self.look: 6,
            self.upload: 2, self.mistype: 3, self.front: 2,
        }  # fmt: skip

    async def visit(self, until: float) -> None:
        """Come and go until the time `until` of `time.monotonic`; what is under way then is finished."""
        try:
            while time.monotonic() < until:
                tab = self.tab()
                for _ in range(self.chance.randint(1, 5)):
                    deed = self.chance.choices([*self.deeds], [*self.deeds.values()])[0]
                    await deed(tab)
                    if tab.heart.done() or time.monotonic() >= until:
                        break
                    await asyncio.sleep(self.chance.uniform(0, PAUSE))
                await tab.close()
        finally:
            await self.http.aclose()

    def tab(self) -> Tab:
        """A new tab."""
        self.tabs += 1
        return Tab(self.http, self.layout, f"visitor{self.number:02d}tab{self.tabs}")

    async def note(self, end: RunEnd) -> None:
        """Note how a run ended; after a refusal a visitor does not ask again at once."""
        self.ledger.note_run(end, self.recipe, self.number)
        if end.outcome == "refused":
            await asyncio.sleep(self.chance.uniform(0, PATIENCE))

    async def run(self, tab: Tab) -> None:
        """A run to its end."""
        await self.note(await page_run(tab, self.recipe))

    async def stop(self, tab: Tab) -> None:
        """A run that is stopped while it waits or when it is under way."""
        at_once = self.chance.random() < 0.5
        end = await page_run(tab, self.recipe, self.chance.uniform(0, 3 if at_once else 1), at_once=at_once)
        await self.note(end)

    async def leave(self, tab: Tab) -> None:
        """A run whose tab is closed."""
        end = await page_run(tab, self.recipe, leave=self.chance.uniform(0, 1))
        await self.note(end)

    async def call(self, tab: Tab) -> None:
        """A run by the API."""
        await self.note(await api_run(self.http, self.recipe))

    async def hang_up(self, tab: Tab) -> None:
        """A run by the API whose stream is closed."""
        end = await api_run(self.http, self.recipe, leave=self.chance.uniform(0, 1))
        await self.note(end)

    async def never_open(self, tab: Tab) -> None:
        """A run by the API whose stream is never opened."""
        answer = await send(self.http, "POST", f"{API}/call/unlearn", json={"data": ["mnist-ddpm", "3", SMALL]})
        self.ledger.note("an order", answer)

    async def look(self, tab: Tab) -> None:
        """Move a slider, choose a model or a method."""
        role = self.chance.choice(("choose", "snapshot", "method"))
        if role == "choose":
            answer = await tab.choose(self.chance.choice(MODELS))
        else:
            values = {"snapshot": self.chance.randint(0, 1), "method": self.chance.choice(("vdu", "vdu-f"))}
            answer = await tab.ask(role, values)
        self.ledger.note(role, answer, quick=True)

    async def upload(self, tab: Tab) -> None:
        """Upload two pictures and look at them."""
        files = [("files", (f"{name}.png", picture(name), "image/png")) for name in ("one", "two")]
        await show(tab, self.ledger, files, quick=True)

    async def mistype(self, tab: Tab) -> None:
        """Bad input on the page, which is refused before it waits."""
        name = self.chance.choice([*BAD_INPUT])
        if tab.model != self.recipe["model"]:
            self.ledger.note("choose", await tab.choose(self.recipe["model"]), quick=True)
        answer = await tab.join("run", self.recipe | BAD_INPUT[name])
        if answer.ok:
            messages = [message async for message in tab.events(answer.data[0])]
            last = messages[-1]
            said = words_of(last.get("output") or {}) if last["msg"] == "process_completed" and not last["success"] else ""
            answer = Answer(500 if said else 200, said=said, seconds=answer.seconds)
            self.ledger.breaches += [] if said else [f"bad input was run: {name}"]
        self.ledger.note(f"bad input, {name}", answer, quick=True)

    async def front(self, tab: Tab) -> None:
        """The page itself."""
        answer = self.ledger.note("GET /", await send(self.http, "GET", "/"))
        self.ledger.front.append(answer.seconds)


def picture(name: str, size: int = 64) -> bytes:
    """A small PNG whose colours depend on its name."""
    import io

    from PIL import Image

    colours = random.Random(name).randbytes(3 * 16)
    out = io.BytesIO()
    Image.frombytes("RGB", (4, 4), colours).resize((size, size), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


async def show(tab: Tab, ledger: Ledger, files: list[Any], quick: bool = False) -> Answer:
    """Upload files and ask for their preview."""
    sent = ledger.note("an upload", await send(tab.http, "POST", f"{API}/upload", files=files))
    if not sent.ok:
        return sent
    named = [{"path": path, "orig_name": file[1][0], "meta": {"_type": "gradio.FileData"}}
             for path, file in zip(sent.data, files, strict=False)]  # fmt: skip
    return ledger.note("a preview", await tab.ask("preview", {"pictures": named}), quick=quick)

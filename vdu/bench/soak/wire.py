"""What a browser and a client of the API say to a Gradio server, and what it answers."""

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vdu.recipe import FIELDS

if TYPE_CHECKING:  # comes with gradio
    import httpx

API = "/gradio_api"
LONGEST = 600.0  # seconds after which an answer that did not come is lost
ROLES = {  # what a visitor does -> the component, by its elem_id, label or text, and its event
    "run": ("Unlearn", "click"), "stop": ("Stop", "click"), "choose": ("Model", "input"), "snapshot": ("snapshot", "input"),
    "preview": ("pictures", "change"), "method": ("recipe-method", "input"),
}  # fmt: skip
NUMBERS = re.compile(r"([\d.,]+)\s*(h|min|s)\b")
SECONDS = {"h": 3600, "min": 60, "s": 1}


@dataclass
class Answer:
    """What came back: HTTP status (0: the connection broke, 200: an answer), the outputs, the words of a refusal, seconds."""

    status: int
    data: list[Any] = field(default_factory=list)
    said: str = ""
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the server answered that it will not."""
        return self.status != 0 and not self.ok

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status == 200 and not self.said


@dataclass
class RunEnd:
    """How a run ended for its client.

    Attributes:
        outcome: "finished", "stopped", "refused", "lost" or "left", as the client left.
        report: the report, as in report.json; said: the words of a refusal.
        told, had: seconds to wait as first told, and as it was; told is None if the server said nothing.
        address: where the client was told to fetch the model.
        stop: the answer to Stop, if it was pressed; stopping: seconds from the press to the end of the run.
    """

    outcome: str
    report: dict[str, Any] | None = None
    said: str = ""
    told: float | None = None
    had: float = 0.0
    address: str = ""
    stop: Answer | None = None
    stopping: float = 0.0


def waiting_seconds(words: Any) -> float | None:
    """The seconds that a status line or a progress event of the API says are left to wait; None where it tells no wait."""
    if isinstance(words, dict):
        return words.get("seconds_left") if words.get("phase") == "waiting" else None
    text = re.sub(r"<[^>]*>", " ", words) if isinstance(words, str) else ""
    found = NUMBERS.findall(text) if re.search(r"\bwait", text, re.IGNORECASE) else []
    return sum(float(number.replace(",", "")) * SECONDS[unit] for number, unit in found) if found else None


def is_waiting(words: Any) -> bool:
    """Whether a status line or a progress event says that the run waits."""
    if isinstance(words, dict):
        return words.get("phase") == "waiting"
    return isinstance(words, str) and bool(re.search(r"\bwait", re.sub(r"<[^>]*>", " ", words), re.IGNORECASE))


def words_of(content: Any) -> str:
    """The words of an error's JSON; "" if it has none."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(filter(None, map(words_of, content)))
    if isinstance(content, dict):
        return next((said for key in ("detail", "error", "message", "msg") if (said := words_of(content.get(key)))), "")
    return ""


def client(base: str, source: str | None = None) -> "httpx.AsyncClient":
    """An HTTP client; `source` is the local address that it calls from."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    transport = httpx.AsyncHTTPTransport(local_address=source, limits=limits)
    return httpx.AsyncClient(base_url=base, timeout=LONGEST, transport=transport)


async def send(http: "httpx.AsyncClient", method: str, path: str, **how: Any) -> Answer:
    """Send a request and read the whole answer; a broken connection has status 0."""
    import httpx

    started = time.monotonic()
    try:
        response = await http.request(method, path, **how)
    except httpx.HTTPError as error:
        return Answer(0, said=type(error).__name__, seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    content: Any = None
    with suppress(ValueError):
        content = response.json()
    if response.status_code != 200:
        return Answer(response.status_code, said=words_of(content) or response.text[:1000], seconds=seconds)
    data = content.get("data", content) if isinstance(content, dict) else content
    return Answer(200, data if isinstance(data, list) else [data], seconds=seconds)


class Layout:
    """The page's components and listeners, from /config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.props = {part["id"]: part.get("props", {}) for part in config["components"]}
        self.listeners = config["dependencies"]
        self.labels = {spec.label: name for name, spec in FIELDS.items()}

    def names(self, component: Any) -> set[str]:
        """What a component can be known by."""
        props = self.props.get(component, {})
        return {str(props[key]) for key in ("elem_id", "label", "value") if isinstance(props.get(key), str)}

    def listener(self, role: str) -> dict[str, Any]:
        """The listener of a role, see `ROLES`: of several the one with most inputs.

        Raises:
            LookupError: if there is none.
        """
        name, event = ROLES[role]
        found = [
            one for one in self.listeners
            if one["backend_fn"] and any(kind == event and name in self.names(part) for part, kind in one["targets"])
        ]  # fmt: skip
        if not found:
            raise LookupError(f"the page has no {event} of {name!r}")
        return max(found, key=lambda one: len(one["inputs"]))

    def data(
        self, listener: Mapping[str, Any], values: Mapping[str, Any], shown: Mapping[Any, Any] = MappingProxyType({})
    ) -> list[Any]:
        """The inputs of a listener: `values` by field of the recipe or by elem_id; else what the page shows now."""
        return [self.value(component, values, shown) for component in listener["inputs"]]

    def value(self, component: Any, values: Mapping[str, Any], shown: Mapping[Any, Any]) -> Any:
        """The value of an input; `shown` has what is no longer as the page started."""
        props = self.props.get(component, {})
        known = (props.get("elem_id") or "").removeprefix("recipe-"), self.labels.get(props.get("label"), "")
        return next((values[name] for name in known if name in values), shown.get(component, props.get("value")))

    def status(self, listener: Mapping[str, Any], outputs: list[Any]) -> str:
        """The status line among a listener's outputs, or what is added to it; "" if it has not changed."""
        for component, value in zip(listener["outputs"], outputs, strict=False):
            if self.props.get(component, {}).get("elem_id") == "status":
                if isinstance(value, list):  # Gradio sends the differences
                    value = "".join(step[-1] for step in value if isinstance(step[-1], str))
                return value if isinstance(value, str) else ""
        return ""


def addresses(data: Any) -> list[str]:
    """The addresses of all files among outputs."""
    if isinstance(data, dict):
        return ([data["url"]] if isinstance(data.get("url"), str) else []) + addresses(list(data.values()))
    return [url for part in data for url in addresses(part)] if isinstance(data, list) else []


class Tab:
    """An open tab of a browser: a session with its heartbeat, and one stream of events for all that it asked.

    Args:
        http: its client; layout: the page; session: its name.
    """

    def __init__(self, http: "httpx.AsyncClient", layout: Layout, session: str) -> None:
        self.http, self.layout, self.session = http, layout, session
        self.inbox: dict[str, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        self.pending: set[str] = set()  # calls whose end is to come
        self.over: set[str] = set()  # calls whose end came, perhaps before the answer to the call itself
        self.shown: dict[Any, Any] = {}  # values that the server has changed
        self.model: str | None = None  # as chosen; None: as the page started
        self.heart = asyncio.create_task(self.beat())
        self.reader: asyncio.Task | None = None

    async def beat(self) -> None:
        """Keep the heartbeat's stream open."""
        import httpx

        with suppress(httpx.HTTPError):
            async with self.http.stream("GET", f"{API}/heartbeat/{self.session}", timeout=None) as stream:
                async for _ in stream.aiter_bytes():
                    pass

    async def read(self) -> None:
        """Hand out the events, as long as something is pending."""
        import httpx

        while self.pending:
            words = "the stream ended"
            try:
                async with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as stream:
                    async for line in stream.aiter_lines():
                        if line.startswith("data:"):
                            words = self.deliver(json.loads(line[5:])) or words
            except httpx.HTTPError as error:
                words = type(error).__name__
            if words != "close":
                for event in self.pending:
                    self.inbox[event].put_nowait({"msg": "lost", "message": words})
                return
            await asyncio.sleep(0)

    def deliver(self, message: dict[str, Any]) -> str:
        """Put a message into its event's inbox; returns "close", or the words of an error of the whole stream."""
        if event := message.get("event_id"):
            if message["msg"] == "process_completed":
                self.pending.discard(event)
                self.over.add(event)
            self.inbox[event].put_nowait(message)
            return ""
        if message["msg"] == "close_stream":
            return "close"
        return message.get("message") or "" if message["msg"] == "unexpected_error" else ""

    async def join(self, role: str, values: Mapping[str, Any], listen: bool = True) -> Answer:
        """Queue a call; the answer's data is the name of the event. `listen` opens the stream if it is not open."""
        listener = self.layout.listener(role)
        body = {
            "session_hash": self.session,
            "fn_index": listener["id"],
            "data": self.layout.data(listener, values, self.shown),
        }
        answer = await send(self.http, "POST", f"{API}/queue/join", json=body)
        if answer.ok and listen:
            answer.data = [answer.data[0]["event_id"]]
            self.pending |= {answer.data[0]} - self.over
            if self.reader is None or self.reader.done():
                self.reader = asyncio.create_task(self.read())
        return answer

    async def events(self, event: str) -> AsyncIterator[dict[str, Any]]:
        """The messages of a call until it is over."""
        try:
            while True:
                message = await asyncio.wait_for(self.inbox[event].get(), LONGEST)
                yield message
                if message["msg"] in ("process_completed", "lost"):
                    return
        except TimeoutError:
            yield {"msg": "lost", "message": f"no message for {LONGEST:.0f} s"}
        finally:
            self.inbox.pop(event, None)
            self.pending.discard(event)

    async def ask(self, role: str, values: Mapping[str, Any]) -> Answer:
        """Do what costs nothing, by the queue or past it, as the page says, and wait for its answer."""
        started, listener = time.monotonic(), self.layout.listener(role)
        if listener["queue"] is False:
            body = {
                "session_hash": self.session,
                "fn_index": listener["id"],
                "data": self.layout.data(listener, values, self.shown),
            }
            return await send(self.http, "POST", f"{API}/run/predict", json=body)
        answer = await self.join(role, values)
        if not answer.ok:
            return answer
        async for message in self.events(answer.data[0]):
            if message["msg"] == "lost":
                return Answer(0, said=message["message"], seconds=time.monotonic() - started)
            if message["msg"] == "process_completed":
                said = "" if message["success"] else words_of(message["output"])
                status = 200 if message["success"] else 500
                return Answer(status, message["output"].get("data", []), said, time.monotonic() - started)
        return Answer(0, said="the stream ended", seconds=time.monotonic() - started)

    async def choose(self, model: str) -> Answer:
        """Choose a model, and take over the values that the server then gives the inputs."""
        listener = self.layout.listener("choose")
        answer = await self.ask("choose", {"model": model})
        if answer.ok:
            self.model = model
            for component, change in zip(listener["outputs"], answer.data, strict=False):
                if not isinstance(change, dict):
                    self.shown[component] = change
                elif "value" in change:
                    self.shown[component] = change["value"]
        return answer

    async def close(self) -> None:
        """Close the tab: its heartbeat and its stream end."""
        for task in filter(None, (self.heart, self.reader)):
            task.cancel()
        await asyncio.gather(*filter(None, (self.heart, self.reader)), return_exceptions=True)

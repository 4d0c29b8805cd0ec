"""The app in a process of its own, on this machine alone: started, watched from outside, and ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from vdu.bench.soak.ledger import Ledger
from vdu.bench.soak.wire import Layout, client, send
from vdu.errors import UserError

APP = Path(__file__).parents[3] / "app.py"
LONGEST_START, LONGEST_END = 300.0, 60.0  # seconds on a busy machine
SETTINGS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
# As in a classroom; but for thirty visitors who ask for a run every few seconds, which no class does.
FLAGS = {"--shared": (), "--runs-per-hour": ("100000",), "--queue-length": ("40",)}


class Server:
    """One process of the app.

    Args:
        work: a folder; the process has its temp folder, its cache and its log there, which the next one finds as they are.
    """

    def __init__(self, work: Path) -> None:
        self.temporary, self.cache, self.log = work / "tmp", work / "cache", work / "log.txt"
        for folder in (self.temporary, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        self.base = ""
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        """Leave no process behind, whatever happened."""
        if self.process and self.process.poll() is None:
            self.kill()

    async def start(self) -> Layout:
        """Start the app on a free port, and return its page once it answers.

        Raises:
            UserError: if it does not answer.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = [word for flag, values in FLAGS.items() for word in (flag, *values)]
        environment = SETTINGS | os.environ | {"TMPDIR": str(self.temporary), "VDU_CACHE": str(self.cache)}
        environment.pop("GRADIO_TEMP_DIR", None)  # the app chooses it
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(APP), "--port", str(port), *flags],
                cwd=APP.parent, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        self.base, self.seen = f"http://127.0.0.1:{port}", psutil.Process(self.process.pid)
        deadline = time.monotonic() + LONGEST_START
        async with client(self.base) as http:
            while (answer := await send(http, "GET", "/config")).status != 200:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise UserError(f"The app does not start; its last words are in {self.log}.")
                await asyncio.sleep(0.1)
        return Layout(answer.data[0])

    def kill(self) -> None:
        """End the process at once, as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()

    async def terminate(self) -> float:
        """Ask the process to end; returns the seconds until it has, and ends it after `LONGEST_END` seconds."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None and time.monotonic() < started + LONGEST_END:
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - started
        if self.process.poll() is None:
            self.kill()
        return seconds

    def files(self) -> set[Path]:
        """All files of the process, and the folders of its own; not the empty folders that libraries make."""
        found = self.temporary.rglob("*")
        left = {path for path in self.cache.rglob("*") if path.suffix != ".safetensors" or path.parent != self.cache}
        return left | {path for path in found if not path.is_dir() or path.name.startswith(("vdu", "gradio"))}

    def stored(self) -> int:
        """Bytes of all files in the temp folder."""
        return sum(size_of(path) for path in self.files())

    def memory(self) -> int:
        """Resident memory, bytes."""
        return self.seen.memory_info().rss

    def handles(self) -> tuple[int, int]:
        """How many files and connections are open, and how many threads."""
        return self.seen.num_fds() if hasattr(self.seen, "num_fds") else self.seen.num_handles(), self.seen.num_threads()

    def tracebacks(self) -> Counter[str]:
        """The last lines of all tracebacks in the log, and how often each is there."""
        found: Counter[str] = Counter()
        inside = False
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Traceback"):
                inside = True
            elif inside and line and not line[0].isspace():
                found[line[:160]] += 1
                inside = False
        return found


def size_of(path: Path) -> int:
    """Bytes of a file; 0 for a folder, or a file that has gone."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def own_address(number: int) -> str | None:
    """An address of this machine for a visitor alone, so that the server can tell visitors apart; None where there is none."""
    address = f"127.0.1.{number % 250 + 1}"
    with socket.socket() as tried:
        try:
            tried.bind((address, 0))
        except OSError:
            return None
    return address


async def watch(server: Server, ledger: Ledger, memory: list[tuple[int, int]]) -> None:
    """Every second, until cancelled: time GET /, ask /healthz, and note (finished runs, bytes of memory)."""
    async with client(server.base) as http:
        while True:
            answer = await send(http, "GET", "/")
            ledger.note("GET /", answer)
            ledger.front.append(answer.seconds)
            health = await send(http, "GET", "/healthz")
            ledger.unwell += [] if health.ok else [f"{health.status} {health.said[:60]}"]
            memory.append((ledger.runs["finished"] + ledger.runs["stopped"], server.memory()))
            await asyncio.sleep(1)

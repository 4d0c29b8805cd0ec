"""Fresh processes of a build, and how long they take."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vdu.bench.speed.cases import Case
from vdu.bench.speed.trees import Tree, environment, last_words
from vdu.errors import UserError

LONGEST_START, LONGEST_END = 300.0, 20.0  # seconds of the page
# On Linux a process inherits the peak memory of the one that forked it. This small one is put between, since torch is loaded
# here.
BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"  # ends with this process, however that ends
ADDRESS = "127.0.0.1"


def timed(tree: Tree, words: list[str]) -> float:
    """Wall-clock seconds of `python -m vdu …`, from its start to its end, in a tree and with an empty cache.

    Raises:
        UserError: if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="vdu-speed-") as work:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", BETWEEN, sys.executable, "-m", "vdu", *words],
            cwd=tree.folder, env=environment(Path(work)), capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
    if done.returncode:
        raise UserError(f"`vdu {words[0]}` of {tree.name} failed; it said: {last_words(done.stderr)}")
    return seconds


def unlearn(tree: Tree, case: Case, samples: int, seed: int) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole run, and its report."""
    with tempfile.TemporaryDirectory(prefix="vdu-speed-") as work:
        out = Path(work) / "run"
        words = ["--model", case.model, "--forget", case.forget, "--samples", str(samples), "--seed", str(seed)]
        seconds = timed(tree, ["unlearn", *words, "--out", str(out)])
        return seconds, json.loads((out / "report.json").read_text(encoding="utf-8"))


def first_page(tree: Tree) -> float:
    """Seconds from the start of the app until GET / answers.

    Raises:
        UserError: if it does not.
    """
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="vdu-speed-", ignore_cleanup_errors=True) as work:
        log = Path(work) / "log.txt"
        with log.open("wb") as lines:
            started = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(port)],
                cwd=tree.folder, env=environment(Path(work)), stdout=lines, stderr=lines,
            )  # fmt: skip
        try:
            while not answers(f"http://{ADDRESS}:{port}/"):
                if process.poll() is not None or time.monotonic() > started + LONGEST_START:
                    said = last_words(log.read_text(encoding="utf-8", errors="replace"))
                    raise UserError(f"The page of {tree.name} does not start; it said: {said}")
                time.sleep(0.02)
            return time.monotonic() - started
        finally:
            end(process)


def answers(address: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(address, timeout=LONGEST_START) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def end(process: subprocess.Popen) -> None:
    """End a process: asked first, forced if it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(LONGEST_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """A process that keeps one core busy for as long as a `with` block lasts, if `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", BUSY])
    try:
        yield
    finally:
        end(process)

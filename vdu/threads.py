"""Work side by side: instead of all threads on one operation, each has operations of its own.

Small networks spend much of an operation on handing parts of it to threads and waiting for the last one, the more so where
another process takes a core. Threads with a batch each wait for nobody. What is computed does not depend on their number.
"""

import atexit
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

Value = TypeVar("Value")
Result = TypeVar("Result")
Yielded = TypeVar("Yielded")

WAIT = 0.1  # seconds after which a thread looks whether it must end


def worker_count(device: str) -> int:
    """How many threads work side by side on a device, "cpu" or "cuda"."""
    return torch.get_num_threads() if device == "cpu" else 1


@contextmanager
def threads_per_operation(count: int | None) -> Iterator[None]:
    """Give every operation `count` threads inside a `with` block, those of NumPy and SciPy too; None changes nothing.

    Sums are rounded in another order with another number of threads, so figures are the same only at the same number.
    """
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def map_side_by_side(function: Callable[[Value], Result], values: Sequence[Value], count: int) -> list[Result]:
    """Apply a function to values in at most `count` threads; returns the results in order."""
    workers = min(count, len(values))
    if workers < 2:
        return [function(value) for value in values]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(count // workers,)) as executor:
            return list(executor.map(function, values))
    finally:
        torch.set_num_threads(count)  # what one thread sets is also where threads that start later begin


def side_by_side(generators: Sequence[Generator[Yielded, None, Value]], count: int) -> Generator[Yielded, None, list[Value]]:
    """Run generators, `count` at a time, and yield what they yield as it comes; returns their values in order.

    No generator runs ahead of the reader by more than a step. If this one is closed, or one fails, the others end after
    their step.
    """
    if count < 2 or len(generators) < 2:
        values = []
        for generator in generators:
            values.append((yield from generator))
        return values
    workers = min(count, len(generators))
    work = Work(generators, count // workers, count)
    try:
        work.start(workers)
        while work.goes_on:
            try:
                yield work.yielded.get(timeout=WAIT)
            except Empty:
                continue
    finally:
        work.stop()
    if work.failure is not None:
        raise work.failure
    return [work.values[number] for number in range(len(generators))]


class Work:
    """Generators that threads take one after another, each with `threads` of all `count` per operation; see `side_by_side`."""

    def __init__(self, generators: Sequence[Generator[Any, None, Any]], threads: int, count: int) -> None:
        self.threads, self.count = threads, count
        self.left, self.lock = iter(enumerate(generators)), threading.Lock()
        self.values: dict[int, Any] = {}
        self.yielded: Queue[Any] = Queue(maxsize=1)
        self.stopped, self.failure = threading.Event(), None
        self.running: list[threading.Thread] = []

    def start(self, workers: int) -> None:
        """Let some threads take generators."""
        AT_WORK.add(self)
        self.running = [threading.Thread(target=self.run, daemon=True) for _ in range(workers)]
        for thread in self.running:
            thread.start()

    @property
    def goes_on(self) -> bool:
        """Whether a thread is at work, or something yielded is not read yet."""
        return any(thread.is_alive() for thread in self.running) or not self.yielded.empty()

    def stop(self) -> None:
        """End all threads after their step; a second call does nothing, as when Python ends."""
        self.stopped.set()
        running, self.running = self.running, []
        for thread in running:
            if thread.ident is not None:
                thread.join()
        if running:
            torch.set_num_threads(self.count)  # see `map_side_by_side`

    def run(self) -> None:
        """Run generators until none is left, or all must end."""
        torch.set_num_threads(self.threads)
        try:
            while not self.stopped.is_set():
                with self.lock:
                    number, generator = next(self.left, (0, None))
                if generator is None:
                    return
                self.values[number] = self.follow(generator)
        except BaseException as error:
            self.failure = error
            self.stopped.set()

    def follow(self, generator: Generator[Any, None, Value]) -> Value | None:
        """Hand on what a generator yields; returns its value, or None if all must end."""
        while True:
            try:
                yielded = next(generator)
            except StopIteration as end:
                return end.value
            while not self.stopped.is_set():
                try:
                    self.yielded.put(yielded, timeout=WAIT)
                    break
                except Full:
                    continue
            else:
                generator.close()
                return None


AT_WORK: "weakref.WeakSet[Work]" = weakref.WeakSet()


@atexit.register
def stop_all() -> None:
    """End what a process that is interrupted leaves at work: a thread that Python kills in a step would abort the process."""
    for work in list(AT_WORK):
        work.stop()

"""The worker computes everything in one and the same thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vdu.worker import on_worker


@on_worker
def thread_name(prefix: str = "") -> str:
    return prefix + threading.current_thread().name


def test_functions_from_any_thread_run_in_one():
    with ThreadPoolExecutor(4) as others:
        names = set(others.map(lambda _: thread_name(), range(8)))
    assert len(names) == 1
    assert threading.current_thread().name not in names
    assert thread_name(prefix="in ") == "in " + names.pop()


def test_a_generator_steps_closes_and_fails_there():
    ended = []

    @on_worker
    def count(up_to: int):
        try:
            for number in range(up_to):
                yield number, threading.current_thread().name
            raise ValueError("spent")
        finally:
            ended.append(threading.current_thread().name)

    stream = count(3)
    assert next(stream) == (0, thread_name())
    stream.close()
    with pytest.raises(ValueError, match="spent"):
        list(count(2))
    assert ended == [thread_name()] * 2

"""Generators side by side: their values, their order, their ends."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from vdu.sampling import run_to_end
from vdu.threads import map_side_by_side, side_by_side


def counting(number, ended=None):
    try:
        for step in range(3):
            yield number, step
    finally:
        if ended is not None:
            ended.append(number)
    return 10 * number


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_values_come_in_order_and_nothing_that_is_yielded_is_lost(count):
    yielded = []
    values = run_to_end(side_by_side([counting(number) for number in range(5)], count), yielded.append)
    assert values == [0, 10, 20, 30, 40]
    assert sorted(yielded) == [(number, step) for number in range(5) for step in range(3)]
    for number in range(5):
        assert [step for other, step in yielded if other == number] == [0, 1, 2]


def test_nobody_runs_ahead_of_the_reader():
    started = []

    def slow(number):
        for step in range(50):
            started.append((number, step))
            yield step

    stream = side_by_side([slow(0), slow(1)], 2)
    next(stream)
    time.sleep(0.3)
    assert len(started) <= 5
    stream.close()


@pytest.mark.parametrize("count", [1, 2])
def test_who_closes_it_ends_all(count):
    ended, before = [], threading.active_count()
    stream = side_by_side([counting(number, ended) for number in range(2)], count)
    next(stream)
    stream.close()
    assert threading.active_count() == before
    assert 0 in ended


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_reaches_the_reader(count):
    def failing():
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_to_end(side_by_side([failing(), counting(1)], count))


def test_operations_of_a_thread_share_the_threads_there_are():
    def asking():
        yield 0
        return torch.get_num_threads()

    before = torch.get_num_threads()
    assert run_to_end(side_by_side([asking(), asking()], 4)) == [2, 2]
    assert run_to_end(side_by_side([asking(), asking()], 2)) == [1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", [1, 3])
def test_a_function_is_applied_in_order(count):
    assert map_side_by_side(lambda value: value * value, [1, 2, 3, 4], count) == [1, 4, 9, 16]
    assert map_side_by_side(lambda _: torch.get_num_threads(), [1, 2], 6) == [3, 3]


def test_threads_that_start_later_begin_with_as_many_threads_per_operation_as_before():
    def begins():
        found = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    def drawing():
        yield torch.ones(300, 300) @ torch.ones(300, 300)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run_to_end(side_by_side([drawing(), drawing()], 2))
        assert (torch.get_num_threads(), begins()) == (2, 2)
        map_side_by_side(torch.ones, [3, 4], 2)
        assert (torch.get_num_threads(), begins()) == (2, 2)
    finally:
        torch.set_num_threads(before)


LEFT_AT_WORK = """
import torch
from vdu.threads import side_by_side

def endless():
    while True:
        yield torch.ones(400, 400) @ torch.ones(400, 400)

stream = side_by_side([endless(), endless()], 2)
next(stream)
raise KeyboardInterrupt
"""


def test_a_process_that_ends_while_threads_are_at_work_is_not_aborted():
    done = subprocess.run([sys.executable, "-c", LEFT_AT_WORK], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert done.returncode in (1, 130, -2)

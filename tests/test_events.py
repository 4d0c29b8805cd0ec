"""Progress: counts become events with the time left."""

import time

import pytest

from vdu.events import PHASES, Clock, Progress


def counting(up_to, closed):
    """Yields counts as sampling does, and returns "done"."""
    try:
        for number in range(up_to):
            yield 10 * (number + 1)
        return "done"
    finally:
        closed.append(True)


def test_a_clock_follows_a_stream_of_counts_and_gives_its_value():
    followed, events = Clock("replay", 30).follow(counting(3, [])), []
    while True:
        try:
            events.append(next(followed))
        except StopIteration as stop:
            assert stop.value == "done"
            break
    assert [(event.phase, event.done, event.total) for event in events] == [("replay", done, 30) for done in (10, 20, 30)]
    assert all(isinstance(event, Progress) for event in events)


def test_a_stream_that_is_left_early_or_fails_is_left_and_fails():
    closed = []
    followed = Clock("replay", 30).follow(counting(3, closed))
    next(followed)
    followed.close()
    assert closed == [True]

    def failing():
        yield 1
        raise ValueError("no memory")

    followed = Clock("replay", 30).follow(failing())
    next(followed)
    with pytest.raises(ValueError, match="no memory"):
        next(followed)


def test_what_is_left_takes_as_long_as_what_is_done():
    clock = Clock("unlearn", 10, started=time.monotonic() - 80)
    assert clock.progress(0).seconds_left is None
    assert clock.progress(2).seconds_left == pytest.approx(320, rel=0.1)
    assert clock.progress(10).seconds_left == 0


def test_every_phase_is_said_in_words():
    for phase, words in PHASES.items():
        assert phase == phase.lower()
        assert words[0].isupper()
        assert not words.endswith(".")

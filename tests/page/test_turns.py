"""Whose run is next, and what is refused before it waits."""

import threading
import time

import pytest

from vdu.errors import UserError
from vdu.page import turns as module
from vdu.page.settings import Settings
from vdu.page.turns import LEFT, STOPPED, TIMED_OUT, Turns


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.01)


def take_turn(turns, visitor):
    """The ticket of a visitor, once it computes."""
    ticket = turns.take(visitor)
    list(turns.wait(ticket))
    return ticket


def test_one_computes_and_the_others_wait_in_their_order_and_are_told_how_long():
    turns = Turns(Settings())
    for visitor in "abc":
        turns.ask(visitor, visitor, 10.0)
    first, second, third = (turns.take(visitor) for visitor in "abc")
    assert turns.begin(first)
    assert not turns.begin(second)
    place = next(turns.wait(third))
    assert (place.phase, place.total) == ("waiting", 2)
    assert 19 < place.seconds_left <= 20
    turns.end(first)
    assert not turns.begin(third)
    assert turns.begin(second)


def test_a_wait_of_unknown_length_is_said_to_be_unknown():
    turns = Turns(Settings())
    turns.ask("a", "a", None)
    turns.ask("b", "b", 10.0)
    turns.begin(turns.take("a"))
    assert next(turns.wait(turns.take("b"))).seconds_left is None


def test_a_visitor_has_one_run_and_one_that_waits_and_may_wait_again_after_stop():
    turns = Turns(Settings())
    turns.ask("me", "here")
    assert turns.begin(turns.take("me"))
    turns.ask("me", "here")
    with pytest.raises(UserError, match="already have a run that is waiting; press Stop"):
        turns.ask("me", "here")
    turns.ask("you", "here")
    assert turns.stop("me")
    assert not turns.stop("nobody")
    assert turns.running.stopped.is_set()
    turns.ask("me", "here")
    assert not any(ticket.stopped.is_set() for ticket in turns.waiting if ticket.visitor == "you")


def test_stop_ends_a_wait_at_once(monkeypatch):
    monkeypatch.setattr(module, "LOOK", 60.0)
    turns = Turns(Settings())
    for visitor in ("busy", "me"):
        turns.ask(visitor, visitor)
    turns.begin(turns.take("busy"))
    ticket, looks = turns.take("me"), []
    waiter = threading.Thread(target=lambda: looks.extend(turns.wait(ticket)))
    waiter.start()
    turns.stop("me")
    waiter.join(10)
    assert not waiter.is_alive()
    assert ticket.ended == STOPPED
    turns.end(ticket)
    assert turns.waiting == []


def test_an_address_with_many_runs_lets_others_go_first():
    turns = Turns(Settings())
    for number in range(5):
        turns.ask(f"many-{number}", "crowd")
    turns.begin(turns.take("many-0"))
    turns.ask("one", "elsewhere")
    assert [ticket.visitor for ticket in turns.order()][:2] == ["one", "many-1"]


def test_a_full_queue_says_when_to_come_back_and_bounds_each_address():
    turns = Turns(Settings(queue_length=3, visitors_per_address=2))
    for number in range(2):
        turns.ask(f"a{number}", "a", 90.0)
    with pytest.raises(
        UserError, match="2 runs already wait from your network address, and no more can; come back in about 3 minutes"
    ):
        turns.ask("a2", "a")
    turns.ask("b0", "b", 90.0)
    with pytest.raises(UserError, match="3 runs already wait"):
        turns.ask("c0", "c")


def test_long_runs_and_many_runs_are_refused_where_there_is_a_bound(monkeypatch):
    turns = Turns(Settings(run_minutes=10, runs_per_hour=2))
    with pytest.raises(UserError, match="take about 20 minutes here, and a run may take 10; choose fewer samples"):
        turns.ask("me", "here", 1200.0)
    with pytest.raises(UserError, match="20 minutes here, and all of them may take 10; choose fewer methods, samples"):
        turns.ask("me", "here", 1200.0, 3)
    for _ in range(2):
        turns.ask("me", "here", 60.0)
        turns.end(turns.take("me"))
    with pytest.raises(UserError, match="2 runs within an hour, and no more are allowed; come back in 60 minutes"):
        turns.ask("me", "here", 60.0)
    turns.ask("you", "here", 60.0)
    later = time.monotonic() + module.HOUR + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    turns.ask("me", "here", 60.0)
    assert Turns(Settings()).ask("me", "here", 1e6).ended == ""


def test_a_run_without_an_owner_or_over_its_time_ends(monkeypatch):
    here = {"a": True, "b": True}
    turns = Turns(Settings(run_minutes=1), lambda visitor, seconds: here[visitor])
    turns.ask("a", "a")
    running = take_turn(turns, "a")
    assert not turns.check(running)
    turns.ask("b", "b")
    here["b"] = False  # gone before a handler took the ticket
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert turns.check(running)
    assert running.ended == TIMED_OUT
    turns.end(running)
    assert turns.waiting == []
    turns.ask("a", "a")
    ticket = take_turn(turns, "a")
    here["a"] = False
    assert turns.check(ticket)
    assert ticket.ended == LEFT


def test_a_place_whose_call_was_cut_off_does_not_hold_up_others(monkeypatch):
    turns = Turns(Settings())
    for visitor in "ab":
        turns.ask(visitor, visitor)
    second = turns.take("b")
    assert not turns.begin(second)
    later = time.monotonic() + module.UNTAKEN + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert turns.begin(second)


def test_a_run_that_waits_holds_up_nobody_while_its_place_is_shown():
    turns = Turns(Settings())
    for visitor in "ab":
        turns.ask(visitor, visitor)
    turns.begin(turns.take("a"))
    shown = turns.wait(turns.take("b"))
    next(shown)  # Gradio goes on with a generator in another thread, or never
    other = threading.Thread(target=turns.stop, args=["a"], daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()
    assert turns.running.stopped.is_set()


def test_the_time_told_learns_from_how_long_others_have_waited(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    turns = Turns(Settings())
    turns.ask("a", "a", 40.0)
    turns.begin(turns.take("a"))
    for _ in range(100):  # each run is stopped at a quarter of its time
        turns.ask("b", "b", 40.0)
        now[0] += 10
        turns.end(turns.running)
        take_turn(turns, "b")
    turns.ask("c", "c", 40.0)
    assert next(turns.wait(turns.take("c"))).seconds_left == pytest.approx(10, rel=0.01)

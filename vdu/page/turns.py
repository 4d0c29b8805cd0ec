"""Whose run computes next: one at a time, in a fair order, with bounds per visitor, and never without an owner."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vdu.errors import UserError
from vdu.events import Progress
from vdu.page.settings import Settings

LOOK = 0.5  # seconds between two looks of a waiting run at its place
TELL = 5.0  # seconds after which a visitor is told again how long, since each telling takes time from the run
GONE = 20.0  # seconds without an open stream after which a run has no owner, some less than the 30 that are promised
UNTAKEN = 30.0  # seconds that a ticket waits for its handler, which comes at once unless the call was cut off
HOUR = 3600.0
PRIOR, FADE = 30.0, 0.9  # seconds that count like past waits at the start; weight of past waits at each new one

STOPPED, LEFT, TIMED_OUT = "stopped", "owner gone", "time limit"  # why a ticket ended before its run


@dataclass(eq=False)
class Ticket:
    """A visitor's place in the order of runs, from the click to the end of the run.

    Attributes:
        visitor: the hash of the visitor's session.
        address: the network address that the visitor comes from.
        seconds: how long the run is expected to take; None if that is not known.
        number: tickets are numbered in the order of their clicks.
        before: how long the runs before it were expected to take when it was asked for; None if that is not known.
        started: when it began to compute, on the clock of `time.monotonic`; None while it waits.
        ended: why the run must end, one of `STOPPED`, `LEFT` and `TIMED_OUT`; "" while it may go on.
    """

    visitor: str
    address: str
    seconds: float | None
    number: int
    started: float | None = None
    before: float | None = None
    ended: str = ""
    taken: bool = False  # whether a handler has taken it over
    asked: float = field(default_factory=lambda: time.monotonic())
    label: str = "run"  # for the log: the recipe without free text
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float | None:
        """How long it will still compute; None if that is not known."""
        if self.seconds is None:
            return None
        return self.seconds if self.started is None else max(0.0, self.started + self.seconds - time.monotonic())


class Turns:
    """The runs of a server that wait, and the one that computes.

    Args:
        settings: the bounds.
        is_here: whether a visitor has a stream open, or had one within the last so many seconds.
    """

    def __init__(self, settings: Settings, is_here: Callable[[str, float], bool] = lambda visitor, seconds: True) -> None:
        self.settings, self.is_here = settings, is_here
        self.lock = threading.RLock()
        self.numbers = itertools.count()
        self.waiting: list[Ticket] = []
        self.running: Ticket | None = None
        self.begun: dict[str, deque[float]] = {}  # visitor -> when their runs of the last hour were asked for
        self.waited = self.expected = PRIOR  # seconds of past waits, of which the later count for more

    def ask(self, visitor: str, address: str, seconds: float | None = None, runs: int = 1) -> Ticket:
        """A ticket for a new run, or for several one after another.

        Args:
            visitor, address, seconds: see `Ticket`; seconds of all runs together.
            runs: their number.

        Raises:
            UserError: if the visitor, or their address, has too many runs, the queue is full, or the run would take too long.
        """
        with self.lock:
            self.drop_ownerless()
            bound = self.settings
            if bound.run_minutes and (seconds or 0) > 60 * bound.run_minutes:
                which, whole, fewer = (
                    ("This run", "a run", "") if runs == 1 else (f"These {runs} runs", "all of them", "methods, ")
                )
                raise UserError(
                    f"{which} would take about {minutes(seconds)} here, and {whole} may take {bound.run_minutes:g}; "
                    f"choose fewer {fewer}samples, steps or sampler steps."
                )
            mine = [ticket for ticket in self.waiting if ticket.visitor == visitor and not ticket.stopped.is_set()]
            if len(mine) >= bound.waiting_per_visitor:
                raise UserError("You already have a run that is waiting; press Stop first, or wait for it.")
            self.check_hour(visitor)
            of_address = sum(ticket.address == address for ticket in self.waiting)
            full, crowded = len(self.waiting) >= bound.queue_length, of_address >= bound.visitors_per_address
            if full or crowded:
                count, where = (len(self.waiting), "here") if full else (of_address, "from your network address")
                raise UserError(
                    f"{counted(count, 'run')} already {'wait' if count != 1 else 'waits'} {where}, and no more can; "
                    f"come back in about {minutes(self.seconds_before(None) or 60)}."
                )
            ticket = Ticket(visitor, address, seconds, next(self.numbers))
            self.waiting.append(ticket)
            ticket.before = self.expected_before(ticket)
            if bound.runs_per_hour:
                self.begun.setdefault(visitor, deque()).append(time.monotonic())
            return ticket

    def check_hour(self, visitor: str) -> None:
        """Refuse a visitor who has had all of their runs of this hour, and forget the visitors of earlier hours."""
        past = time.monotonic() - HOUR
        for other, times in list(self.begun.items()):
            while times and times[0] < past:
                times.popleft()
            if not times:
                del self.begun[other]
        times = self.begun.get(visitor, ())
        if self.settings.runs_per_hour and len(times) >= self.settings.runs_per_hour:
            raise UserError(
                f"You have had {counted(len(times), 'run')} within an hour, and no more are allowed; come back in "
                f"{minutes(times[0] - past)}."
            )

    def take(self, visitor: str) -> Ticket | None:
        """The visitor's oldest ticket that no handler has taken over yet."""
        with self.lock:
            ticket = next((one for one in self.waiting if one.visitor == visitor and not one.taken), None)
            if ticket:
                ticket.taken = True
            return ticket

    def order(self) -> list[Ticket]:
        """The waiting tickets in the order of their turns: each address in turn, and within an address the first to ask."""
        rows = []
        for ticket in self.waiting:
            before = sum(other.address == ticket.address and other.number < ticket.number for other in self.waiting)
            computes = self.running is not None and self.running.address == ticket.address
            rows.append((before + computes, ticket.number, ticket))
        return [ticket for _, _, ticket in sorted(rows, key=lambda row: row[:2])]

    def expected_before(self, ticket: Ticket | None) -> float | None:
        """How long all runs before a ticket, or before a new one, are expected to take; None if that is not known."""
        order = self.order()
        ahead = order[: order.index(ticket)] if ticket else order
        left = [one.seconds_left for one in (*([self.running] if self.running else []), *ahead)]
        return None if None in left else sum(left)

    def seconds_before(self, ticket: Ticket | None) -> float | None:
        """How long until the turn of a ticket, or of a new one; None if that is not known.

        Some of the runs before it will be stopped or left, as experience says.
        """
        expected = self.expected_before(ticket)
        return None if expected is None else expected * self.waited / self.expected

    def wait(self, ticket: Ticket) -> Iterator[Progress]:
        """Wait for a ticket's turn: yields how many are before it, and ends once it computes or has ended."""
        told, ahead = float("-inf"), -1
        while not self.begin(ticket) and not ticket.ended:
            place = self.place(ticket)
            if place and (place.total != ahead or time.monotonic() - told > TELL):
                told, ahead = time.monotonic(), place.total
                yield place  # without the lock: who reads this may go on in another thread, or never
            ticket.stopped.wait(LOOK)

    def place(self, ticket: Ticket) -> Progress | None:
        """How many runs are before a waiting ticket, and for how long; None if it does not wait."""
        with self.lock:
            order = self.order()
            if ticket not in order:
                return None
            return Progress("waiting", 0, order.index(ticket) + (self.running is not None), self.seconds_before(ticket))

    def begin(self, ticket: Ticket) -> bool:
        """Whether the ticket computes, from now on if it is its turn."""
        with self.lock:
            self.check(ticket)
            self.drop_ownerless()
            if self.running is None and not ticket.ended and (order := self.order()) and order[0] is ticket:
                self.waiting.remove(ticket)
                self.running, ticket.started = ticket, time.monotonic()
                self.learn(ticket)
            return self.running is ticket

    def check(self, ticket: Ticket) -> bool:
        """Whether a run must end; `Ticket.ended` then says why."""
        if not ticket.ended:
            limit = 60 * self.settings.run_minutes
            if ticket.stopped.is_set():
                ticket.ended = STOPPED
            elif not self.is_here(ticket.visitor, GONE):
                ticket.ended = LEFT
            elif limit and ticket.started is not None and time.monotonic() - ticket.started > limit:
                ticket.ended = TIMED_OUT
        return bool(ticket.ended)

    def end(self, ticket: Ticket) -> None:
        """Give the turn back, or the place in the queue."""
        with self.lock:
            if self.running is ticket:
                self.running = None
            elif ticket in self.waiting:
                self.waiting.remove(ticket)
            self.drop_ownerless()

    def learn(self, ticket: Ticket) -> None:
        """Take note of how long a ticket has waited, beside how long the runs before it were expected to take."""
        if ticket.before:
            self.waited = FADE * self.waited + (ticket.started - ticket.asked)
            self.expected = FADE * self.expected + ticket.before

    def drop_ownerless(self) -> None:
        """Take tickets out of the queue that no handler took over and whose visitors have gone, or whose call was cut off."""
        late = time.monotonic() - UNTAKEN
        self.waiting = [one for one in self.waiting if one.taken or not (self.check(one) or one.asked < late)]

    def stop(self, visitor: str) -> bool:
        """Ask all runs of a visitor to end; returns whether there is one."""
        with self.lock:
            mine = [one for one in (*self.waiting, *([self.running] if self.running else [])) if one.visitor == visitor]
            for ticket in mine:
                ticket.stopped.set()
            return bool(mine)


def minutes(seconds: float) -> str:
    """A time in whole minutes, at least one, in words."""
    return counted(max(1, round(seconds / 60)), "minute")


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun}{'s' * (number != 1)}"

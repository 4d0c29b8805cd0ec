"""Progress of a command, on stderr."""

import sys

from vdu.events import PHASES, Event, Preview, Progress


class Ticker:
    """Progress on stderr: one line that is rewritten on a terminal, a line a preview elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()

    def show(self, event: Event) -> None:
        """Print what is worth knowing of an event."""
        if isinstance(event, Preview):
            self.line(f"step {event.step}: forget rate about {event.forget_rate:.1%}, damage {event.damage:.0%}")
        elif isinstance(event, Progress) and self.live:
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            print(f"\r\x1b[K{PHASES[event.phase]} {event.done}/{event.total}{left}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        print(("\r\x1b[K" if self.live else "") + text, file=sys.stderr, flush=True)

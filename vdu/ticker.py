"""Progress of a command, on stderr."""

import sys

from rich import progress
from rich.console import Console

from vdu.events import PHASES, Event, Preview, Progress
from vdu.processes import is_main


class Ticker(progress.Progress):
    """A context in which a terminal has a live line, with the phase and the time left in it; elsewhere a line per preview.

    Of several processes only the first prints.
    """

    def __init__(self) -> None:
        columns = "{task.description}", progress.BarColumn(20), progress.MofNCompleteColumn(), "{task.fields[left]}"
        super().__init__(
            *columns,
            console=Console(stderr=True),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,  # only a report's path belongs there
            disable=not (sys.stderr.isatty() and is_main()),
        )
        self.phase = self.add_task("", total=None, visible=False, left="")

    def show(self, event: Event) -> None:
        """Print what is worth knowing of an event."""
        if isinstance(event, Preview):
            self.line(f"step {event.step}: forget rate about {event.forget_rate:.1%}, damage {event.damage:.0%}")
        elif isinstance(event, Progress):
            minutes, seconds = divmod(round(event.seconds_left or 0), 60)
            left = "" if event.seconds_left is None else f"{minutes}:{seconds:02} left"
            counts = {"completed": event.done, "total": event.total}
            self.update(self.phase, description=PHASES[event.phase], visible=True, left=left, **counts)

    def line(self, text: str) -> None:
        """Print a line that stays, above the live one."""
        if is_main():
            print(text, file=sys.stderr, flush=True)

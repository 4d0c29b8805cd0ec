"""Progress on stderr: a live line on a terminal, a plain line per preview elsewhere, and nothing on stdout."""

import io
import sys

import torch

from vdu.events import Preview, Progress
from vdu.ticker import Ticker

PREVIEW = Preview(40, torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([False]), 0.125, 0.5)
EVENTS = Progress("unlearn", 7, 150, 83.4), PREVIEW, Progress("after", 1, 2, None)


class Terminal(io.StringIO):
    """Takes itself for a terminal."""

    def isatty(self):
        return True


def shown_on(stream, monkeypatch):
    """What a ticker writes to stderr."""
    monkeypatch.setattr(sys, "stderr", stream)
    with Ticker() as ticker:
        for event in EVENTS:
            ticker.show(event)
            ticker.refresh()
        ticker.line("It is done.")
    return stream.getvalue()


def test_elsewhere_it_is_a_plain_line_per_preview(monkeypatch, capsys):
    assert shown_on(io.StringIO(), monkeypatch) == "step 40: forget rate about 12.5%, damage 50%\nIt is done.\n"
    assert capsys.readouterr().out == ""


def test_on_a_terminal_a_live_line_has_phase_count_and_time_left(monkeypatch, capsys):
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    written = shown_on(Terminal(), monkeypatch)
    live = next(line for line in written.split("\r") if "Unlearning" in line)
    assert "7/150" in live and "1:23 left" in live
    assert "1/2" in written and written.count("left") == written.count("1:23 left")
    assert "step 40: forget rate about 12.5%, damage 50%\n" in written
    assert written.rpartition("Measuring")[2].endswith("\x1b[2K")  # the live line is gone at the end
    assert capsys.readouterr().out == ""


def test_a_line_needs_no_context(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    Ticker().line("A row.")
    assert sys.stderr.getvalue() == "A row.\n"

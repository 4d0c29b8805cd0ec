"""The command line: `python -m vdu COMMAND`, with the commands below."""

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from vdu import __version__
from vdu.command import NOTHING_WRITTEN, Commands
from vdu.errors import PictureWarning, UserError, first_line, foreseen, one_line
from vdu.processes import is_main, let_main_speak

RUNNING = ("unlearn", "attack", "sample", "evaluate", "estimate", "compare", "sweep", "animate")
SHARED = ("sample", "evaluate", "estimate", "pretrain")  # what several processes can run together
commands = click.version_option(__version__, message="%(version)s")(
    Commands(
        "vdu",
        help="Make a pretrained diffusion model forget, and measure it.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
        # Imported when asked for: torch, diffusers and transformers take seconds.
        elsewhere={"models": "vdu.listing:run_models"}
        | {name: f"vdu.running:run_{name}" for name in RUNNING}
        | {"bench": "vdu.bench.commands:bench", "pretrain": "vdu.pretrain.commands:pretrain"},
        shared=SHARED,
    )
)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        the exit status: 0, 1 for a defect, 2 for input that cannot be used, 130 when interrupted or terminated.

    Raises:
        SystemExit: with status 1, when nobody reads what is printed.
    """
    with warnings.catch_warnings(), stopped_by_sigterm():
        warnings.simplefilter("once", PictureWarning)  # a run reads its pictures more than once
        warnings.showwarning = show_warning
        return run_command(argv)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which schedulers of clusters send, stop a command as Ctrl-C does: it tidies up and says what is kept."""
    if threading.current_thread() is not threading.main_thread():  # another may not change what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *where: Any) -> None:
    """Print a warning on stderr: the sentence alone if it is about a user's pictures."""
    of_pictures = issubclass(category, PictureWarning)
    if of_pictures and not is_main():  # the first of several processes says the same
        return
    sys.stderr.write(f"{message}\n" if of_pictures else warnings.formatwarning(message, category, filename, lineno))


def run_command(argv: list[str] | None) -> int:
    """Run a command, with a user's error as one line on stderr; returns the exit status."""
    try:
        return commands.main(argv, "python -m vdu", standalone_mode=False) or 0
    except click.UsageError as error:
        message = error.format_message()
        stop = "" if message.endswith((".", "?", "?)")) else "."
        return refuse(2, f"{message}{stop} See {error.ctx.command_path} --help.")
    except UserError as error:
        return refuse(2, str(error))
    except click.Abort as stop:
        return refuse(130, f"stopped; {stop.args[0] if stop.args else NOTHING_WRITTEN}.")
    except Exception as error:
        if words := foreseen(error):
            return refuse(2, words)
        # a defect, with what is needed to mend it
        let_main_speak()
        traceback.print_exc()
        name, words = type(error).__name__, first_line(error)
        return refuse(1, f"this failed in vdu itself ({name}: {words}); please report it with the lines above.")


def refuse(status: int, message: str) -> int:
    """Print one line on stderr, once for several processes that fail alike; returns the exit status."""
    let_main_speak()
    print(f"vdu: {one_line(message)}", file=sys.stderr)
    return status

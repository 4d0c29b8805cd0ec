"""Parts of commands that import no model: groups, options with several values, numbers with bounds."""

import importlib
import math
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from vdu.errors import UserError
from vdu.processes import number_of_processes

GOES_ON = "what is finished is kept; the same command goes on from there"
NOTHING_WRITTEN = "nothing was written"
PATH = click.Path(path_type=Path)
LONGEST_FLAGS = 76  # letters that a terminal of 80 shows in one line, indented


class Whole(click.IntRange):
    """A whole number with bounds."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a refusal that names both bounds."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a whole number from {self.min:,} to {self.max:,}, not '{value}'.", param, ctx)


class Real(click.FloatRange):
    """A number with bounds."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a refusal that names both bounds; NaN lies within none."""
        found = math.nan
        with suppress(click.BadParameter):
            found = super().convert(value, param, ctx)
        if not self.min <= found <= self.max:
            self.fail(f"must be a number from {self.min:g} to {self.max:,g}, not '{value}'.", param, ctx)
        return found


class Several(click.Option):
    """An option with one or more values after one flag, `--seeds 0 1 2`; a `Command` reads it."""

    def __init__(self, *declarations: Any, **settings: Any) -> None:
        super().__init__(*declarations, multiple=True, **settings)

    def make_metavar(self, ctx: click.Context) -> str:
        """How the help writes its values."""
        return super().make_metavar(ctx) + "..."

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """The values, each once: a run that is counted twice would make an interval too narrow."""
        cast = super().type_cast_value(ctx, value)
        return tuple(dict.fromkeys(cast)) if cast else cast


class Command(click.Command):
    """A command that reads options of several values, and groups the options of a recipe in its help.

    Args:
        stopped: what an interrupted command leaves, for its last line.
    """

    def __init__(self, *args: Any, stopped: str = NOTHING_WRITTEN, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.stopped = stopped

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write `--seeds 0 1` as click reads it, `--seeds=0 --seeds=1`. Of a repeated option the last counts.

        Raises:
            click.BadOptionUsage: for an option without a value; click would take the next option for the value.
        """
        options = {flag: param for param in self.get_params(ctx) if isinstance(param, click.Option) for flag in param.opts}
        for flag, following in pairwise([*args, "--"]):
            if flag in options and not options[flag].is_flag and following.partition("=")[0] in {*options, "--"}:
                raise click.BadOptionUsage(flag, f"Option '{flag}' requires an argument.", ctx)
        several: dict[str, list[str]] = {}
        rest, taking = [], None
        for word in args:
            flag, equals, value = word.partition("=")
            if isinstance(options.get(flag), Several):
                taking = several[flag] = [value] if equals else []
            elif taking is not None and (not word.startswith("-") or word[1:2].isdigit()):
                taking.append(word)
            else:
                taking = None
                rest.append(word)
        return super().parse_args(ctx, [f"{flag}={value}" for flag, values in several.items() for value in values] + rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                heading = getattr(param, "heading", "Options")
                headings.setdefault(heading, []).append(short_record(*record))
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            click.Abort: when interrupted; it says what is left.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # where click still ends quietly if nobody reads it
        except KeyboardInterrupt as stop:
            raise click.Abort(self.stopped) from stop
        return result


def short_record(flags: str, help: str) -> tuple[str, str]:
    """An option's flags and help; choices too long for a line are named in the help, which is wrapped."""
    if len(flags) <= LONGEST_FLAGS or not (choices := re.search(r"\[(\S+\|\S+)\]", flags)):
        return flags, help
    return flags.replace(choices[0], "NAME"), f"{help}  [one of {', '.join(choices[1].split('|'))}]"


class Commands(click.Group):
    """Commands, listed in the order in which they are declared; to name none is an error.

    Args:
        elsewhere: command -> "module:name" of its function, which is imported when it is asked for.
        shared: the commands that several processes can run together; None for all.
    """

    command_class = Command

    def __init__(
        self,
        *args: Any,
        elsewhere: Mapping[str, str] = MappingProxyType({}),
        shared: Collection[str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, no_args_is_help=False, **settings)
        self.elsewhere, self.shared = elsewhere, shared
        self.commands = {name: click.Command(name) for name in elsewhere} | dict(self.commands)  # their places

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """A command by its name; None for an unknown name."""
        if name in self.elsewhere:
            module, _, function = self.elsewhere[name].partition(":")
            self.commands[name] = getattr(importlib.import_module(module), function)
        return super().get_command(ctx, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names, and the words that follow.

        Raises:
            UserError: if a launcher has started several processes of a command for one.
        """
        if number_of_processes() > 1 and self.shared is not None and args[0] in self.commands.keys() - {*self.shared}:
            raise UserError(
                f"'{args[0]}' runs in a single process, so start it without a launcher (or unset WORLD_SIZE); several "
                f"processes can share the work of {', '.join(self.shared)}."
            )
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [*self.commands]

"""Options made from a recipe's fields say what the recipe says; an option may have several values."""

import click
import pytest

from vdu.arguments import recipe_of, recipe_options
from vdu.command import Command, Several, Whole
from vdu.recipe import DEFAULTS, FIELDS, Recipe

COMMAND = Command(
    "some",
    params=[
        click.Argument(["what"]),
        Several(["--seeds"], type=Whole(-1, 9), default=[0, 1, 2]),
        Several(["--forget"]),
        click.Option(["--out"]),
        click.Option(["--json"], is_flag=True),
    ],
    callback=lambda **values: values,
)
LEFT_OUT = {"what": "it", "seeds": (0, 1, 2), "forget": (), "out": None, "json": False}


def read(command, line):
    """The values that a command gets from a line."""
    return command.main(line.split(), "some", standalone_mode=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("it", {}),
        ("it --seeds 4", {"seeds": (4,)}),
        ("it --seeds 4 5 6 --forget a b", {"seeds": (4, 5, 6), "forget": ("a", "b")}),
        ("it --seeds 4 -1 --json", {"seeds": (4, -1), "json": True}),
        ("it --seeds=4 5", {"seeds": (4, 5)}),
        ("it --seeds 4 5 4 --forget a a", {"seeds": (4, 5), "forget": ("a",)}),
        ("it --seeds 4 5 --seeds 6", {"seeds": (6,)}),
        ("--forget a --json it", {"forget": ("a",), "json": True}),
        ("--out --x it", {"out": "--x"}),
    ],
)
def test_an_option_takes_the_values_that_follow_it(line, expected):
    assert read(COMMAND, line) == LEFT_OUT | expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("it --seeds", "'--seeds' requires an argument"),
        ("it --seeds --forget a", "'--seeds' requires an argument"),
        ("it --out --json", "'--out' requires an argument"),
        ("it --seeds 4 10", "a whole number from -1 to 9, not '10'"),
        ("it --seeds 4 --sedes 5", "No such option '--sedes'"),
        ("it --out here 5", "unexpected extra argument"),
        ("--forget a it", "Missing argument"),
    ],
)
def test_what_does_not_fit_is_refused(line, message):
    with pytest.raises(click.UsageError) as refused:
        read(COMMAND, line)
    assert message in refused.value.format_message()


@pytest.mark.parametrize("name", FIELDS)
def test_the_option_of_a_field_has_its_default_its_help_and_its_bounds(name):
    (option,) = recipe_options([name])
    assert option.opts == ["--" + name.replace("_", "-")]
    command = Command("some", params=[option], callback=lambda **values: values)
    assert read(command, "")[name] == (DEFAULTS[name] or None if FIELDS[name].type is str else DEFAULTS[name])
    page = " ".join(command.get_help(click.Context(command, terminal_width=500)).split())
    assert " ".join(FIELDS[name].help.split()) in page
    assert f"{FIELDS[name].group.capitalize()}:" in page
    if FIELDS[name].low is not None:
        assert f"{FIELDS[name].low}<=x<={FIELDS[name].high}" in page


def test_options_make_the_recipe_and_what_is_left_out_stays_open():
    command = Command("some", params=recipe_options(FIELDS, required=("model", "forget")), callback=lambda **values: values)
    read_recipe = recipe_of(read(command, "--model tiny-sd --forget=red --steps 1e2 --gamma 0.5 --seed 7"))
    assert read_recipe == Recipe(model="tiny-sd", forget="red", steps=100, gamma=0.5, seed=7)
    with pytest.raises(click.MissingParameter) as refused:
        read(command, "--model tiny-sd")
    assert "'--forget'" in refused.value.format_message()


def test_an_interrupt_says_what_is_left():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(click.Abort, match="all of it"):
        read(Command("some", callback=stop, stopped="all of it"), "")

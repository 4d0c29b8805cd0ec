"""The reference of a recipe's fields, made from `vdu.recipe.FIELDS`: `python -m vdu.fields > docs/recipe.md`."""

from typing import Any, get_args

from vdu.methods import METHODS
from vdu.models import KINDS
from vdu.recipe import BY_KIND, BY_METHOD, DEFAULTS, FIELDS, OPEN, Field, Group, defaults_of

HEAD = """# The fields of a recipe

A recipe holds the settings of a run. Every field is an option of `vdu unlearn` (`--step-size` for `step_size`) and a key of
the API and of report.json. Every field but `device` is an input of the page. `keep`, `pictures` and `judge` may stay empty;
all other defaults that are missing below depend on the model and the method, see the last two tables.
`python -m vdu.fields > docs/recipe.md` makes this page.
"""
KINDS_SAID = "Elsewhere, a DDPM with one channel is called a model of drawings, and one in colour a model of photographs."
KIND_WORDS = {
    "unconditional": "DDPM, one channel",
    "photographs": "DDPM, in colour",
    "small": "text-to-image, small",
    "full-size": "text-to-image, full size",
}


def row(*cells: Any) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def values(field: Field) -> str:
    """The options or bounds of a field."""
    if field.options:
        return ", ".join(f"`{name}`" for name in field.options)
    return "text" if field.type is str else " … ".join(f"{end:,}" for end in (field.low, field.high))


def default(name: str) -> str:
    """The default of a field; empty if it depends on the model or the method."""
    return "" if DEFAULTS[name] in (OPEN, "") else f"`{DEFAULTS[name]}`"


def reference() -> str:
    """The page: all fields by group, then the defaults by kind of model and by method."""
    lines = [HEAD]
    for group in get_args(Group):
        lines += [f"## {group.capitalize()}", "", row("field", "meaning", "values", "default"), row(*["---"] * 4)]
        chosen = {name: field for name, field in FIELDS.items() if field.group == group}
        lines += [row(f"`{name}`", field.help, values(field), default(name)) for name, field in chosen.items()]
        lines.append("")
    lines += [
        "## Defaults by kind of model",
        "",
        KINDS_SAID,
        "",
        row("field", *(KIND_WORDS[kind] for kind in KINDS)),
        row(*["---"] * 5),
    ]
    lines += [
        row(f"`{name}`", *(BY_KIND[kind][name] for kind in KINDS))
        for name in FIELDS
        if all(name in BY_KIND[kind] for kind in KINDS)
    ]
    lines += ["", "## Defaults by method", "", row("method", "kind of model", *(f"`{name}`" for name in BY_METHOD))]
    lines.append(row(*["---"] * (2 + len(BY_METHOD))))
    for name, method in METHODS.items():
        for kind in KINDS:
            if kind in method.defaults:
                lines.append(row(f"`{name}`", KIND_WORDS[kind], *(defaults_of(kind, name)[field] for field in BY_METHOD)))
    for name, method in METHODS.items():
        for model, own in method.by_model.items():
            differing = ", ".join(f"`{field}` {value}" for field, value in own.items())
            lines += ["", f"On `{model}`, `{name}` has other defaults: {differing}."]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference())

"""What a recipe leaves open is filled here: by the kind of model, and by the method on that kind."""

import dataclasses
from typing import Any

from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL
from vdu.recipe import OPEN, Recipe

PROMPTED = (SMALL, FULL_SIZE)  # kinds of models that take prompts
PROMPTED_DEFAULTS = {
    "method": "vdu-f", "posterior": "checkpoints", "t_min": 300, "t_max": 999, "parameters": "cross-attention",
    "sampler": "ode", "max_damage": 0.4,
}  # fmt: skip
BY_KIND: dict[str, dict[str, float | int | str]] = {
    UNCONDITIONAL: {
        "method": "vdu-f", "posterior": "checkpoints", "t_min": 425, "t_max": 950, "parameters": "all", "replay": 1024,
        "preview_every": 40, "sampler": "sde", "sampler_steps": 15, "guidance": 1.0, "batch_size": 24, "samples": 256,
        "target": 0.006, "max_damage": 0.4,
    },
    PHOTOGRAPHS: {
        "method": "vdu", "posterior": "layers", "t_min": 425, "t_max": 950, "parameters": "all", "replay": 360,
        "preview_every": 20, "sampler": "ode", "sampler_steps": 15, "guidance": 1.0, "batch_size": 12, "samples": 120,
        "target": 0.01, "max_damage": 0.6,
    },
    SMALL: PROMPTED_DEFAULTS | {
        "replay": 360, "preview_every": 30, "sampler_steps": 15, "guidance": 3.0, "batch_size": 24, "samples": 256,
        "target": 0.006,
    },
    FULL_SIZE: PROMPTED_DEFAULTS | {
        "replay": 48, "preview_every": 50, "sampler_steps": 20, "guidance": 7.5, "batch_size": 4, "samples": 50,
        "target": 0.02,
    },
}  # fmt: skip


BY_METHOD = ("gamma", "reach", "optimizer", "step_size", "steps")  # fields that a change of method resets


def defaults_of(kind: str, method: str) -> dict[str, Any]:
    """The defaults of a method on a kind of model.

    Raises:
        UserError: if the method does not fit the kind.
    """
    chosen = METHODS[method]
    if kind not in chosen.defaults:
        fitting = ", ".join(name for name, other in METHODS.items() if kind in other.defaults)
        what = "takes prompts" if kind in PROMPTED else "draws without prompts"
        raise UserError(f"Method {method} cannot be used with a model that {what}; choose one of {fitting}.")
    return BY_KIND[kind] | chosen.defaults[kind]


def resolve(recipe: Recipe, kind: str) -> Recipe:
    """The recipe with every open field filled for a kind of model.

    Raises:
        UserError: if the method does not fit the kind, or the values together make no sense.
    """
    method = recipe.method if recipe.method is not OPEN else BY_KIND[kind]["method"]
    filled = {name: value for name, value in defaults_of(kind, method).items() if getattr(recipe, name) is OPEN}
    return dataclasses.replace(recipe, method=method, **{name: value for name, value in filled.items() if name != "method"})

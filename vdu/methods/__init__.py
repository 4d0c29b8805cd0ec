"""The unlearning methods. A method is one file here that declares METHOD; nothing else has to be changed."""

from vdu.methods.base import Batch, Method, NoisyImages, Prompts, Solution, Terms
from vdu.registry import collect

__all__ = ["METHODS", "Batch", "Method", "NoisyImages", "Prompts", "Solution", "Terms"]

# Methods tried on few runs come last.
METHODS: dict[str, Method] = dict(
    sorted(
        ((name.replace("_", "-"), method) for name, method in collect(__name__, "METHOD")),
        key=lambda row: (row[1].experimental, row[0] != "vdu-f", row[0]),
    )
)

"""A class of an unconditional model: a digit, a kind of photograph."""

from vdu.concepts.base import REPLAY_KINDS, Concept, Kinds, PromptSpec
from vdu.errors import UserError


class ClassConcept(Concept):
    """One or several classes of an unconditional model."""

    def meaning(self, name: str) -> dict[str, str]:
        """The class of that name."""
        for axis, names in self.axes.items():
            if name in names:
                return {axis: name}
        raise UserError(f"{self.model} has no class '{name}'; its classes are {', '.join(self.classes)}.")

    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """`count` specs without prompts."""
        _ = self.retained_classes  # refuses to forget every class
        return [PromptSpec()] * count

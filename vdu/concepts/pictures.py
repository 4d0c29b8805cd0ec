"""What a user's own pictures show, for an unconditional model of any shape."""

from collections.abc import Sequence

from vdu.concepts.base import OTHERWISE, REPLAY_KINDS, Concept, ConceptRequest, Kinds, PromptSpec
from vdu.errors import UserError


class PictureConcept(Concept):
    """What a user's pictures show.

    Its images are judged in a second way too: which of the backbone's classes they resemble most. That means little for a
    model of other things, but an image that stays as it is goes on resembling the same class, and one that breaks does not.
    """

    @classmethod
    def of(cls, model: str, request: ConceptRequest, resemblances: Sequence[str]) -> "PictureConcept":
        """The concept of a user's request.

        Raises:
            UserError: if no pictures are given, more than one folder is to be kept, or the name is taken.
        """
        if len(request.keep) > 1:
            raise UserError(f"'{model}' draws without words; keep takes one folder of pictures.")
        if request.forget == OTHERWISE:
            raise UserError(f"'{OTHERWISE}' is what the rest is called; give what to forget another name.")
        return cls(model, {"class": (request.forget, OTHERWISE), "look": tuple(resemblances)}, request.forget)

    def meaning(self, name: str) -> dict[str, str]:
        """The concept itself."""
        return {"class": self.classes[0]}

    def meanings(self, name: str) -> list[dict[str, str]]:
        """One thing, whatever signs stand in its name."""
        return [self.meaning(name)]

    @property
    def retained_classes(self) -> list[str]:
        """Everything else."""
        return [OTHERWISE]

    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """No image has a prompt."""
        return [PromptSpec()] * count

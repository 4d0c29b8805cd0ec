"""The subject of a user's own pictures, for an unconditional model with images of any size."""

from collections.abc import Sequence

from vdu.concepts.base import OTHERWISE, REPLAY_KINDS, Concept, ConceptRequest, Kinds, PromptSpec
from vdu.errors import UserError


class PictureConcept(Concept):
    """The subject of a user's pictures.

    A second axis, "look", says which of the backbone's classes an image resembles most. The class itself means little for a
    model of other things, but an image that stays intact keeps resembling the same class, and a broken one does not.
    """

    @classmethod
    def of(cls, model: str, request: ConceptRequest, resemblances: Sequence[str]) -> "PictureConcept":
        """The concept of a user's request.

        Raises:
            UserError: if more than one folder is to be kept, or the name is reserved.
        """
        if len(request.keep) > 1:
            raise UserError(f"'{model}' takes no prompts; keep takes one folder of pictures.")
        if request.forget == OTHERWISE:
            raise UserError(f"'{OTHERWISE}' is the name of everything else; give the concept another name.")
        return cls(model, {"class": (request.forget, OTHERWISE), "look": tuple(resemblances)}, request.forget)

    def meaning(self, name: str) -> dict[str, str]:
        """The concept itself."""
        return {"class": self.classes[0]}

    def meanings(self, name: str) -> list[dict[str, str]]:
        """The concept alone: commas in its name separate nothing."""
        return [self.meaning(name)]

    @property
    def retained_classes(self) -> list[str]:
        """Everything else."""
        return [OTHERWISE]

    def plan(self, count: int, kinds: Kinds = REPLAY_KINDS) -> list[PromptSpec]:
        """`count` specs without prompts."""
        return [PromptSpec()] * count

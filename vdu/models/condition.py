"""What a network is given besides x_t and t."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of a network besides x_t and t, for n images; none at all for a model without prompts.

        both = Condition.cat([model.conditions(["a dog"]), model.conditions([None])])
        model.predict_noise(states, t, both.rows([0, 0, 1]))

    Attributes:
        tensors: name -> tensor with first dimension n; every family has its own names.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @staticmethod
    def cat(parts: Sequence["Condition"]) -> "Condition":
        """The rows of several conditions of one model, one after another.

        Raises:
            ValueError: if their tensors have different names, since they then come from different families.
        """
        names = list(parts[0].tensors)
        if any(list(part.tensors) != names for part in parts):
            raise ValueError("Conditions of different families cannot be put together.")
        return Condition({name: torch.cat([part[name] for part in parts]) for name in names})

    def rows(self, index: Tensor | Sequence[int] | slice) -> "Condition":
        """Some rows: by numbers, which may repeat, by a slice, or by a mask (n,)."""
        return Condition({name: value[index] for name, value in self.tensors.items()})

    def where(self, mask: Tensor, other: "Condition") -> "Condition":
        """This condition's rows where a mask (n,) is True, elsewhere the rows of `other`."""
        return Condition(
            {
                name: torch.where(mask.view(-1, *[1] * (value.dim() - 1)), value, other[name])
                for name, value in self.tensors.items()
            }
        )


NO_CONDITION = Condition()

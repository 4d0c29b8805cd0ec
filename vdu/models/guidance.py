"""Guidance away from a concept: what is added to the predicted noise while sampling, in place of a change of the weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

Shift = Callable[[Tensor, Tensor], Tensor]  # x_t (n, c, h, w) and timesteps (n,) -> a change of the noise (n, c, h, w)


@dataclass(frozen=True)
class Guidance:
    """A change of the predicted noise, and its strength: 0 is none.

    Attributes:
        shift: the change at strength 1; several threads may call it at once.
        strength: a factor on it, at least 0.
    """

    shift: Shift
    strength: float = 1.0

    def __call__(self, states: Tensor, t: Tensor) -> Tensor:
        """What to add to the noise predicted in states x_t (n, c, h, w) at timesteps t (n,)."""
        return self.strength * self.shift(states, t)

    def times(self, factor: float) -> Self:
        """The same with `factor` times the strength."""
        return replace(self, strength=factor * self.strength)

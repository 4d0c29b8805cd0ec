"""Where a picture comes from: the pictures of a run whose patches lie nearest to its own, at several levels of noise.

Nonparametric data attribution (Zhao et al. 2025, 2510.14269). The best denoiser of a set of pictures returns their mean, each
weighted by how well it explains what is under the noise; done patch by patch, these weights say which pictures a new one could
be put together from. No network is asked and no gradient is taken, so nothing is proved about what a model learned.

Simplified here: no noise is drawn, as the exponent has its mean over the noise; a patch is looked for near its own place
alone, not in the whole of a picture; and large pictures are reduced, not compared at two scales.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vdu.batches import forget_images
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.run import Run

LEVELS = (0.9, 0.4, 0.08, 0.01)  # alpha-bar at about t = 100, 300, 500 and 700 of the schedule of Ho et al. (2020)
PARTS = (4, 2)  # a patch has this part of a picture's side
REACH = 2  # pixels to each side in which a patch is looked for
LARGEST = 32  # pixels a side
NEAREST = 5  # candidates that are shown
FORGET, DRAWN, KEPT = "forget image", "forget image, own sample", "kept, own sample"  # kinds of candidates


def attribution(drawn: Tensor, candidates: Tensor) -> Tensor:
    """How much of each picture each candidate explains.

    A patch p gives every patch q of a candidate, shifted by at most `REACH` pixels, the weight
    exp(-||p - q||² alpha-bar / (2 (1 - alpha-bar))), divided by the sum of all. A candidate has the mean of the weights of its
    patches, over all patches of `drawn`, levels of noise and sizes of patches. Beyond its border it goes on with its border.

    Args:
        drawn: uint8 (n, c, h, w).
        candidates: uint8 (m, c, h, w), m > 0.

    Returns:
        weights in [0, 1], float64 (n, m), each row with the sum 1; 1 / m where nothing tells the candidates apart.
    """
    pictures, others = reduced(drawn), reduced(candidates)
    padded = functional.pad(others, (REACH,) * 4, mode="replicate")
    height, width = pictures.shape[2:]
    patches = {max(1, min(height, width) // part) for part in PARTS}
    rows = []
    for picture in pictures:
        apart: dict[int, list[Tensor]] = {side: [] for side in patches}
        for down in range(2 * REACH + 1):
            for right in range(2 * REACH + 1):
                shifted = padded[:, :, down : down + height, right : right + width]
                squares = (shifted - picture).square().sum(1, keepdim=True)
                for side, found in apart.items():
                    found.append(side**2 * functional.avg_pool2d(squares, side, max(1, side // 2)).flatten(1))
        means = []
        for found in apart.values():
            squared = torch.stack(found)  # (shifts, m, patches)
            for level in LEVELS:
                exponents = -squared * level / (2 * (1 - level))
                means.append(exponents.logsumexp(0).double().softmax(0).mean(1))
        rows.append(torch.stack(means).mean(0))
    return torch.stack(rows)


def reduced(images: Tensor) -> Tensor:
    """uint8 images (n, c, h, w) in [-1, 1], float32, reduced by the mean to at most `LARGEST` pixels a side."""
    pixels = images.float() / 127.5 - 1
    factor = LARGEST / max(pixels.shape[2:])
    if factor >= 1:
        return pixels
    return functional.adaptive_avg_pool2d(pixels, [max(1, math.floor(factor * side)) for side in pixels.shape[2:]])


@dataclass(frozen=True)
class Candidates:
    """The pictures that a run had to learn from.

    Attributes:
        images: uint8 (m, c, h, w).
        kinds: m of `FORGET` (a real picture of the concept), `DRAWN` (the model's own) and `KEPT`.
        rows: the place of each own sample in the replay, -1 for real pictures, (m,).
    """

    images: Tensor
    kinds: tuple[str, ...]
    rows: Tensor

    def without(self, row: int) -> "Candidates":
        """All but the sample at a place of the replay."""
        left = (self.rows != row).nonzero().flatten()
        return Candidates(self.images[left], tuple(self.kinds[place] for place in left.tolist()), self.rows[left])

    @property
    def of_concept(self) -> Tensor:
        """Which of them are forget images, bool (m,)."""
        return torch.tensor([kind != KEPT for kind in self.kinds])


@dataclass(frozen=True)
class Origin:
    """Where one picture comes from.

    Attributes:
        image: the picture, uint8 (c, h, w); framed: whether the judge sees the concept in it.
        weights: of the candidates, (m,), see `attribution`; nearest: the places of the heaviest, heaviest first.
    """

    image: Tensor
    framed: bool
    weights: Tensor

    @property
    def nearest(self) -> list[int]:
        """The places of the `NEAREST` heaviest candidates, heaviest first."""
        return self.weights.argsort(descending=True, stable=True)[:NEAREST].tolist()


def why_none(method: str) -> str:
    """Why a run of a method has no forget images to compare with, as a sentence; "" if it has."""
    return (
        "" if METHODS[method].uses_forget_images else f"{method} sees no forget images, so there is nothing to compare with."
    )


def candidates_of(run: Run) -> Candidates:
    """The forget images of a run, and the model's own samples of everything else.

    Raises:
        UserError: if the run's method uses no forget images.
    """
    if why := why_none(run.recipe.method):
        raise UserError(why)
    replay, forget = run.replay, forget_images(run.task, run.replay)
    images, real = forget.of_concept.images, forget.real
    own = replay.of_class.nonzero().flatten()[: len(images) - real]
    kept = replay.kept.nonzero().flatten()
    kinds = (FORGET,) * real + (DRAWN,) * len(own) + (KEPT,) * len(kept)
    return Candidates(torch.cat([images, replay.samples.images[kept]]), kinds, torch.cat([torch.full((real,), -1), own, kept]))


def origins(run: Run, place: int) -> tuple[Candidates, Origin, Origin]:
    """The candidates, and where a picture of the previews comes from: before the first step, and at the end.

    The model's own sample of the same seed, which is the picture before, is no candidate.

    Args:
        run: a run with previews.
        place: of the picture in them, from 0.

    Raises:
        UserError: see `candidates_of`.
    """
    candidates = candidates_of(run).without(int(run.replay.grid[place]))
    looks = run.previews[0], run.previews[-1]
    images = torch.stack([look.images[place] for look in looks])
    weights = attribution(images, candidates.images)
    before, after = (Origin(image, bool(look.forgotten[place]), row)
                     for image, look, row in zip(images, looks, weights, strict=True))  # fmt: skip
    return candidates, before, after

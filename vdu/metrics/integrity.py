"""How alike the retained images before and after are, by their pixels alone: no judge has a part in it.

"Model Integrity when Unlearning with T2I Diffusion Models" (2411.02068) measures retention by the perceptual difference
between what both models draw for the same request. Here it is the structural similarity of the same seeds.
"""

import torch
from torch import Tensor

from vdu.intervals import Z95
from vdu.metrics.base import Evidence, Figures, Group, Metric, estimate

WINDOW = 11  # pixels per side of the Gaussian window (Wang et al. 2004)
CHUNK = 64  # pairs compared at once


def structural_similarity(one: Tensor, two: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) of each pair of uint8 images, (n, c, h, w) twice -> (n,), at most 1; 1 for equal images."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    return torch.cat([
        structural_similarity_index_measure(first.float(), second.float(), reduction="none", data_range=255.0).view(-1)
        for first, second in zip(one.split(CHUNK), two.split(CHUNK), strict=True)
    ])  # fmt: skip


def retained_ssim(evidence: Evidence) -> Figures:
    """Mean SSIM of the retained seeds before and after, with the normal interval of a mean for two or more.

    `retained_ssim_floor` is the same of unrelated images: each seed before against the next seed after; None for a single one.
    """
    before, after = (samples.images for samples in evidence.retained_pairs)
    pairs = structural_similarity(before, after).double()
    half = Z95 * (pairs.std() / len(pairs) ** 0.5).item() if len(pairs) > 1 else None
    mean = pairs.mean().item()
    figures = estimate("retained_ssim", mean, None if half is None else (mean - half, min(1.0, mean + half)))
    floor = structural_similarity(before, after.roll(1, dims=0)).mean().item() if len(pairs) > 1 else None
    return figures | {"retained_ssim_floor": floor}


def applies(evidence: Evidence) -> bool:
    """Whether some seed is to be retained, samples of the untouched model are known, and the window fits an image."""
    return evidence.retained_pairs is not None and min(evidence.samples.images.shape[2:]) >= WINDOW


METRICS = (
    Metric(
        key="retained_ssim",
        compute=retained_ssim,
        label="Structural similarity",
        meaning="SSIM of retained images before and after, from pixels alone; 1 is unchanged",
        format="{:.2f}",
        better="higher",
        bounds=(-1.0, 1.0),
        group=Group.CHANGE,
        applies=applies,
        order=94,
    ),
)

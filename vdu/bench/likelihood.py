"""How well a model explains images: its denoising loss, which bounds minus the log-likelihood (Ho et al. 2020).

Two models are compared as in FADE (2510.12981): each explains what the other draws. If both draw from one distribution,
neither explains the images of either much better than the other does.
"""

import torch
from torch import Tensor

from vdu.intervals import Z95
from vdu.losses import noised, per_image_error
from vdu.models import Model

TIMES = 8  # timesteps per image, evenly over the schedule
CHUNK = 64  # images at once


@torch.no_grad()
def denoising_losses(model: Model, images: Tensor, seed: int) -> Tensor:
    """E ||epsilon - epsilon_theta(x_t, t)||² / d of each uint8 image (n, c, h, w) of a model without prompts: (n,), float64.

    Timesteps and noise depend on the seed alone, so that the losses of two models can be compared image by image.
    """
    random, last = torch.Generator().manual_seed(seed), len(model.alpha_bar)
    found = []
    for part in images.split(CHUNK):
        clean, total = model.encode(part), torch.zeros(len(part), dtype=torch.float64)
        for place in range(TIMES):
            t = ((place + torch.rand(len(part), generator=random)) * last / TIMES).long().to(model.device)
            noise = torch.randn(clean.shape, generator=random).to(model.device)
            noisy = noised(clean, noise, model.alpha_bar[t])
            total += per_image_error(model.predict_noise(noisy, t), noise).double().cpu()
        found.append(total / TIMES)
    return torch.cat(found)


def excess(model: Model, other: Model, images: Tensor, seed: int) -> tuple[float, tuple[float, float]]:
    """By what share a model's denoising loss on images (n, …), n > 1, exceeds another's, with the normal interval of a mean.

    Above 0 the other model explains the images better.
    """
    one, two = (denoising_losses(each, images, seed) for each in (model, other))
    shares = (one - two) / two.mean()
    mean, half = shares.mean().item(), Z95 * (shares.std() / len(shares) ** 0.5).item()
    return mean, (mean - half, mean + half)

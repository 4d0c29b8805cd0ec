"""A model with one parameter, which can be worked out by hand."""

from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler

from vdu.losses import Posterior
from vdu.methods import Batch, NoisyImages
from vdu.models import DDPM, NO_CONDITION
from vdu.sampling import HowToSample


class Line(torch.nn.Module):
    """epsilon_theta(x_t, t) = theta x_t."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(theta))
        self.config = SimpleNamespace(sample_size=2, in_channels=1)

    def forward(self, noisy, t):
        return SimpleNamespace(sample=self.theta * noisy)


def line_batch(theta=0.7, mu=0.5, variance=0.04, gamma=0.6) -> Batch:
    """One batch for `Line`, with unequal weights C_t."""
    random = torch.Generator().manual_seed(0)

    def noised() -> NoisyImages:
        states, noise = torch.randn((2, 3, 1, 2, 2), generator=random)
        return NoisyImages(states, torch.tensor([10, 400, 900]), noise, NO_CONDITION)

    model = DDPM(Line(theta), DDPMScheduler(), "cpu", "line")
    return Batch(
        model=model,
        frozen=DDPM(Line(mu), DDPMScheduler(), "cpu", "line"),
        parameters=model.trained,
        posterior=Posterior({"theta": torch.tensor(mu)}, {"theta": torch.tensor(variance)}),
        forget=noised(),
        weight=torch.tensor([0.5, 1.0, 1.5]),
        replay=noised(),
        forget_set=torch.randn((5, 1, 2, 2), generator=random),
        kept_set=torch.randn((6, 1, 2, 2), generator=random),
        gamma=gamma,
        reach=1.0,
        window=(0, 999),
        how=HowToSample(),
        random=random,
    )

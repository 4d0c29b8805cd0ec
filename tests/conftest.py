"""What several tests need: a one-parameter model that can be worked out by hand, and a recipe that takes seconds."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from diffusers import DDPMScheduler

from vdu.events import Event
from vdu.losses import Posterior
from vdu.methods import Batch, NoisyImages
from vdu.models import DDPM, NO_CONDITION
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import HowToSample
from vdu.unlearn import unlearn

torch.set_num_threads(1)  # with two, threads that wait for work slow everything else on a small machine

QUICK = {"samples": 50, "replay": 48, "steps": 4, "preview_every": 2, "sampler_steps": 3, "batch_size": 4}
QUICK_PROMPTS = QUICK | {"model": "tiny-sd", "replay": 36, "sampler_steps": 2}


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


@pytest.fixture
def batch() -> Batch:
    return line_batch()


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Estimates are kept in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class FinishedRun(NamedTuple):
    """A run and all events of it, in order."""

    run: Run
    events: list[Event]


def carry_out(**changes) -> FinishedRun:
    """A quick run with some changes, from beginning to end."""
    run = Run(Recipe.from_dict(QUICK | changes))
    return FinishedRun(run, list(unlearn(run)))


@pytest.fixture(scope="session")
def finished_run(cache):
    """Gives a finished run by its changes of the quick recipe. Tests share it, and so must not change it."""
    finished: dict[Recipe, FinishedRun] = {}

    def run_of(**changes) -> FinishedRun:
        recipe = Recipe.from_dict(QUICK | changes)
        if recipe not in finished:
            finished[recipe] = carry_out(**changes)
        return finished[recipe]

    return run_of

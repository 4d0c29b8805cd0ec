"""Sampling is repeatable, and image k does not depend on the number of images."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from vdu.models import DDPM, from_uint8
from vdu.recipe import Recipe
from vdu.sampling import ALGORITHMS, HowToSample, image_seeds, run_to_end, sample, timestep_grid
from vdu.task import open_model, open_task


@pytest.mark.parametrize("sampler", ALGORITHMS)
def test_same_seeds_same_images_whatever_the_count(sampler):
    model, _, _ = open_model("mnist-ddpm", "cpu")
    few, again = (run_to_end(sample(model, image_seeds(3, 4), HowToSample(3, sampler))) for _ in range(2))
    assert torch.equal(few, again)
    assert few.dtype == torch.uint8
    assert few.shape == (4, 1, 28, 28)
    many = run_to_end(sample(model, image_seeds(3, 6), HowToSample(3, sampler)))
    # Another batch size may round bfloat16 sums differently; another seed is another picture altogether.
    assert (many[:4].int() - few.int()).abs().float().mean() < 2
    other = run_to_end(sample(model, image_seeds(4, 4), HowToSample(3, sampler)))
    assert (other.int() - few.int()).abs().float().mean() > 10


def test_seeds_of_a_longer_list_begin_with_those_of_a_shorter():
    assert image_seeds(7, 10)[:4] == image_seeds(7, 4)
    assert not set(image_seeds(0, 20_000)) & set(image_seeds(1, 20_000))


@pytest.mark.parametrize("steps", [1, 2, 15, 100])
def test_the_grid_starts_at_the_end_falls_and_is_densest_in_the_middle(steps):
    grid = timestep_grid(steps, 999)
    assert grid[0] == 999
    assert len(grid) == steps
    gaps = [first - second for first, second in zip(grid, [*grid[1:], 0], strict=True)]
    assert min(gaps) > 0
    if steps > 2:
        assert min(gaps) in gaps[steps // 2 - 1 : steps // 2 + 1]


def test_starting_from_an_image_at_low_noise_gives_that_image_back():
    task = open_task(Recipe(forget="5"))
    model, real = task.model, task.forget_set().images[:4]
    seen = []
    near = run_to_end(sample(model, image_seeds(0, 4), HowToSample(15, "sde"), clean=from_uint8(real), skip=13), seen.append)
    assert seen == [4, 8]  # two of the fifteen steps are left
    far = run_to_end(sample(model, image_seeds(0, 4), HowToSample(15, "sde"), clean=from_uint8(real), skip=0))
    assert (near.int() - real.int()).abs().float().mean() < 8
    assert (far.int() - real.int()).abs().float().mean() > 20


def test_a_network_that_predicts_v_draws_the_same():
    model, _, _ = open_model("mnist-ddpm", "cpu")

    class Velocity(torch.nn.Module):
        """v = (epsilon - sigma_t x_t) / alpha_t, from a network that predicts epsilon."""

        def __init__(self):
            super().__init__()
            self.inside = model.unet
            self.config = model.unet.config

        def forward(self, noisy, t):
            alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
            predicted = self.inside(noisy, t).sample
            return SimpleNamespace(sample=(predicted - (1 - alpha_bar).sqrt() * noisy) / alpha_bar.sqrt())

    config = dict(model.scheduler.config) | {"prediction_type": "v_prediction"}
    other = DDPM(Velocity(), DDPMScheduler.from_config(config), "cpu", "v")
    states, t = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 500, 999])
    with torch.no_grad():
        torch.testing.assert_close(other.predict_noise(states, t), model.predict_noise(states, t), atol=2e-2, rtol=0)
    first, second = (run_to_end(sample(each, image_seeds(0, 3), HowToSample(5))) for each in (model, other))
    assert (first.int() - second.int()).abs().float().mean() < 2

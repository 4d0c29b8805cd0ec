"""Sampling is repeatable, and image k does not depend on the number of images."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from vdu.errors import BrokenImages
from vdu.judges.fitted import DRAWN
from vdu.models import DDPM, from_uint8
from vdu.posterior import ESTIMATE_IMAGES
from vdu.recipe import FIELDS, Recipe
from vdu.sampling import (
    ALGORITHMS,
    BLOCK,
    FIXED,
    OFFSETS,
    STATES,
    STRIDE,
    HowToSample,
    Role,
    check_images,
    fresh_noise,
    image_seeds,
    run_start,
    run_to_end,
    sample,
    timestep_grid,
)
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


def roles_of(seed):
    """Role -> the seeds of all images that a run of this seed may draw for it."""
    most = {Role.MEASURE: FIELDS["samples"].high, Role.STEER: FIELDS["replay"].high}
    return {role: image_seeds(seed, count, role) for role, count in most.items()} | {
        Role.ESTIMATE: image_seeds(None, ESTIMATE_IMAGES, Role.ESTIMATE),
        Role.JUDGE: image_seeds(None, DRAWN, Role.JUDGE),
    }


def meeting(role, fixed, gap):
    """The run's seed for which the block of a role would begin `gap` before the one of a role in `FIXED`."""
    return pow(STRIDE, -1, STATES) * (FIXED[fixed] - OFFSETS[role] - gap) % STATES


COLLIDING = [meeting(role, fixed, gap) for role in OFFSETS for fixed in FIXED for gap in range(1 - BLOCK, BLOCK)]
ACCEPTED = [seed for seed in COLLIDING if seed <= FIELDS["seed"].high]


@pytest.mark.parametrize("seed", [0, 1, 2, 76, 77, 78, 4295, 2**16, 2**20, 2**30, 2**31 - 2, 2**31 - 1, *ACCEPTED[::20_000]])
def test_no_role_shares_a_state_of_the_generator_with_another(seed):
    states = {role: [state_of(seed) for seed in seeds] for role, seeds in roles_of(seed).items()}
    together = [state for part in states.values() for state in part]
    assert len(set(together)) == len(together)


def test_no_accepted_seed_lets_two_blocks_meet():
    assert len(ACCEPTED) > 1000
    for seed in ACCEPTED:
        starts = [(run_start(seed) + offset) % STATES for offset in OFFSETS.values()] + list(FIXED.values())
        assert all(BLOCK <= (one - two) % STATES <= STATES - BLOCK for one in starts for two in starts if one != two)


def state_of(seed):
    """The first word of the generator's state, which determines all others."""
    return int.from_bytes(torch.Generator().manual_seed(seed).get_state()[24:28].numpy().tobytes(), "little")


def test_the_generator_takes_a_seed_modulo_2_to_the_32():
    assert [state_of(seed) for seed in (5, STATES + 5, 7 * STATES + 5)] == [5, 5, 5]


def test_a_judge_is_fitted_on_no_noise_that_is_measured():
    judged, measured = (
        fresh_noise([torch.Generator().manual_seed(seed) for seed in seeds], (1, 4, 4))
        for seeds in (image_seeds(None, DRAWN, Role.JUDGE), image_seeds(0, 1000))
    )
    assert (judged[:, None] != measured).any((2, 3, 4)).all()


def test_the_seeds_of_published_figures_have_not_moved():
    assert image_seeds(0, 3) == [0, 1, 2]
    assert image_seeds(3, 2) == [3_000_009, 3_000_010]
    assert image_seeds(0, 2, Role.STEER) == [2**31, 2**31 + 1]
    assert image_seeds(None, 2, Role.ESTIMATE) == [77_000_231, 77_000_232]


def test_more_images_than_a_block_has_seeds_are_refused():
    with pytest.raises(ValueError, match="32,769 images in one role"):
        image_seeds(0, BLOCK + 1)


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
    assert (seen[-1], len(seen)) == (8, 4)  # two of the fifteen steps are left, of two batches
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


def test_images_that_show_nothing_are_refused():
    images = torch.randint(0, 256, (16, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    check_images(images)
    with pytest.raises(BrokenImages, match="the same image from every seed"):
        check_images(images[:1].repeat(16, 1, 1, 1))
    colours = torch.arange(16, dtype=torch.uint8).view(-1, 1, 1, 1).expand(16, 3, 4, 4) * 10
    with pytest.raises(BrokenImages, match="nothing but single colours"):
        check_images(colours + torch.randint(0, 3, (16, 3, 4, 4), dtype=torch.uint8))
    check_images(torch.cat([colours[:15], images[:1]]))
    check_images(colours[:15])

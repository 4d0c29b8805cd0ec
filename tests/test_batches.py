"""What the steps look at: both sets, noised as the recipe says."""

import pytest
import torch
from conftest import QUICK

from vdu.batches import batches, forget_set, timestep_weights
from vdu.catalog import open_model
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.sampling import drain


@pytest.fixture(scope="module")
def opened():
    return open_model("mnist-ddpm", "cpu")


def test_a_batch_looks_at_the_whole_window_and_its_noise_is_what_was_added(opened):
    model, entry = opened
    recipe = Recipe.from_dict(QUICK | {"batch_size": 20, "t_min": 400, "t_max": 799, "method": "vdu"})
    replay = drain(draw_replay(recipe, entry, model))
    first, again = (next(batches(recipe, entry, replay, model, model, None)) for _ in range(2))
    assert torch.equal(first.forget.states, again.forget.states)
    assert (first.forget.t.sort().values // 20 == torch.arange(20, 40)).all()  # one in each twentieth of the window
    assert ((first.replay.t >= 400) & (first.replay.t <= 799)).float().mean() >= 0.5  # a quarter may lie anywhere
    alpha_bar = model.alpha_bar[first.replay.t].view(-1, 1, 1, 1)
    clean = (first.replay.states - (1 - alpha_bar).sqrt() * first.replay.noise) / alpha_bar.sqrt()
    distances = torch.cdist(clean.flatten(1), first.kept_set.flatten(1)).min(1).values
    assert distances.max() < 0.1  # each is one of the replayed images, up to rounding; two of those are some 15 apart
    assert len(first.kept_set) == int((~replay.of_class).sum())


def test_the_forget_set_is_what_the_recipe_allows(opened):
    model, entry = opened
    recipe = Recipe.from_dict(QUICK | {"replay": 256, "forget_images": 30})
    replay = drain(draw_replay(recipe, entry, model))
    own = int(replay.of_class.sum())
    sizes = {
        (method, source): len(
            forget_set(Recipe.from_dict(recipe.to_dict() | {"method": method, "forget_source": source}), entry, replay).images
        )
        for method in ("vdu", "vdu-f")
        for source in ("real", "model")
    }
    assert sizes == {("vdu", "real"): 30, ("vdu", "model"): own, ("vdu-f", "real"): 30 + own, ("vdu-f", "model"): own}


@pytest.mark.parametrize("weighting", ["simple", "bound"])
def test_weights_over_t_have_mean_one_inside_the_window_and_are_nothing_outside(opened, weighting):
    weights = timestep_weights(Recipe(weighting=weighting, t_min=300, t_max=600), opened[0])
    assert weights[300:601].mean().item() == pytest.approx(1, rel=1e-5)
    assert weights[:300].abs().max() == 0
    assert weights[601:].abs().max() == 0
    assert (weights[300].item() == pytest.approx(weights[600].item())) == (weighting == "simple")

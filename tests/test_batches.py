"""Batches: both sets, noised as in the recipe."""

import pytest
import torch
from conftest import QUICK

from vdu.batches import BatchStream, forget_images, neutral_images, timestep_weights
from vdu.concepts.base import INSTEAD
from vdu.methods import METHODS
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.sampling import run_to_end
from vdu.task import open_model, open_task

RED = {"model": "tiny-sd", "forget": "red", "sampler_steps": 3}


def opened(**changes):
    """A task and the replay of its untouched model."""
    task = open_task(Recipe.from_dict(QUICK | changes))
    return task, run_to_end(draw_replay(task.recipe, task.concept, task.judge, task.model))


def stream_of(task, replay) -> BatchStream:
    return BatchStream(task, replay, task.model, task.model, None)


def test_a_batch_looks_at_the_whole_window_and_its_noise_is_what_was_added():
    task, replay = opened(batch_size=20, t_min=400, t_max=799, method="vdu")
    first, again = (next(iter(stream_of(task, replay))) for _ in range(2))
    assert torch.equal(first.forget.states, again.forget.states)
    assert (first.forget.t.sort().values // 20 == torch.arange(20, 40)).all()  # one in each twentieth of the window
    assert ((first.replay.t >= 400) & (first.replay.t <= 799)).float().mean() >= 0.5  # a quarter may lie anywhere
    alpha_bar = task.model.alpha_bar[first.replay.t].view(-1, 1, 1, 1)
    clean = (first.replay.states - (1 - alpha_bar).sqrt() * first.replay.noise) / alpha_bar.sqrt()
    distances = torch.cdist(clean.flatten(1), first.kept_set.flatten(1)).min(1).values
    assert distances.max() < 0.1  # each is one of the replayed images, up to rounding; two replayed images are some 15 apart
    assert len(first.kept_set) == int((~replay.of_class).sum())
    assert (first.window, first.how, first.forgotten) == ((400, 799), task.recipe.how, ("3",))


def test_draws_of_a_methods_own_leave_the_batches_as_they_are():
    task, replay = opened(method="vdu")
    plain, drawing = (iter(stream_of(task, replay)) for _ in range(2))
    torch.rand(100, generator=next(drawing).random)
    next(plain)
    assert torch.equal(next(plain).forget.states, next(drawing).forget.states)


@pytest.mark.parametrize("method", ["vdu", "vdu-f"])
def test_the_forget_set_is_what_the_recipe_allows_and_what_is_seen_is_said(method):
    for source, real in (("real", 30), ("model", 0)):
        task, replay = opened(replay=256, forget_images=30, method=method, forget_source=source)
        drawn = int(replay.of_class.sum()) if method == "vdu-f" or source == "model" else 0
        images = forget_images(task, replay)
        assert (images.real, len(images.all.images), images.from_neutral) == (real, real + drawn, None)
        assert stream_of(task, replay).count_images(METHODS[method]) == {
            "forget_real": real,
            "forget_drawn": drawn,
            "neutral_drawn": 0,
            "retain_drawn": int(replay.kept.sum()) if method == "vdu-f" else 0,
        }


def test_a_method_that_looks_at_no_forget_image_is_said_to_see_none():
    task, replay = opened(**RED)
    stream, own = stream_of(task, replay), METHODS["vdu-f"]
    assert stream.count_images(own)["neutral_drawn"] == len(neutral_images(replay).images)
    assert set(stream.count_images(METHODS["esd"]).values()) == {0}


def test_what_the_model_draws_without_the_word_is_an_answer_to_the_word():
    task, replay = opened(**RED)
    concept, instead = task.concept, neutral_images(replay)
    assert 0 < len(instead.images) <= int(replay.samples.of_kind(INSTEAD).sum())
    assert (task.judge.judge(instead.images)[0][:, concept.class_sets[0][0]] <= 0.5).all()
    for caption, neutral in zip(instead.captions, instead.neutral, strict=True):
        assert concept.neutral_prompt(caption) == neutral != caption
    batch = next(iter(stream_of(task, replay)))
    assert batch.forgotten == ()
    assert batch.forget.from_neutral.shape == (task.recipe.batch_size,)
    paper, replay = opened(**RED, method="vdu")
    assert not next(iter(stream_of(paper, replay))).forget.from_neutral.any()


def test_weights_over_t_have_mean_one_inside_the_window_and_are_nothing_outside():
    weights = timestep_weights(Recipe(t_min=300, t_max=600), open_model("mnist-ddpm", "cpu")[0])
    assert weights[300:601].mean().item() == pytest.approx(1, rel=1e-5)
    assert weights[:300].abs().max() == 0
    assert weights[601:].abs().max() == 0
    assert weights[300].item() == pytest.approx(weights[600].item())

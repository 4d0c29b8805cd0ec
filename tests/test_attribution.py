"""Where a picture comes from, against what is known beforehand: copies, shifted copies, halves, and pictures of one colour."""

from types import SimpleNamespace

import pytest
import torch

from vdu.attribution import DRAWN, FORGET, KEPT, NEAREST, REACH, attribution, candidates_of, origins
from vdu.errors import UserError


def pictures(count=5, channels=1, side=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), generator=random, dtype=torch.uint8)


@pytest.mark.parametrize(("channels", "side"), [(1, 16), (3, 16), (3, 80)])
def test_every_copy_has_itself_as_its_nearest_and_the_weights_add_up_to_1(channels, side):
    candidates = pictures(channels=channels, side=side)
    weights = attribution(candidates, candidates)
    assert weights.sum(1).tolist() == pytest.approx([1] * 5)
    assert weights.min() >= 0
    assert weights.argmax(1).tolist() == [*range(5)]
    assert (weights.diagonal() > 0.4).all()


def test_a_shifted_copy_is_found_as_far_as_a_patch_is_looked_for():
    candidates = pictures()
    near, far = (candidates[2].roll(shift, 2).unsqueeze(0) for shift in (REACH, REACH + 2))
    found, lost = attribution(near, candidates)[0], attribution(far, candidates)[0]
    assert found.argmax() == 2
    assert found[2] > 0.4 > lost[2]


def test_of_two_halves_both_have_about_the_same_weight():
    candidates = pictures(6)
    halves = torch.cat([candidates[1, :, :, :8], candidates[4, :, :, 8:]], dim=2).unsqueeze(0)
    weights = attribution(halves, candidates)[0]
    assert sorted(weights.topk(2).indices.tolist()) == [1, 4]
    assert weights[1].item() == pytest.approx(weights[4].item(), abs=0.15)
    assert weights[[1, 4]].sum() > 0.5  # an even share of both is a third


def test_where_nothing_tells_candidates_apart_all_have_the_same():
    grey = torch.full((4, 1, 16, 16), 90, dtype=torch.uint8)
    assert attribution(pictures(1), grey)[0].tolist() == pytest.approx([0.25] * 4)
    twice = torch.cat([pictures(2), pictures(2)])
    weights = attribution(pictures(1), twice)[0]
    assert weights[0].item() == pytest.approx(weights[2].item())


def test_the_order_of_candidates_does_not_matter_nor_does_another_picture():
    candidates, order = pictures(), torch.tensor([3, 0, 4, 1, 2])
    drawn = pictures(2, seed=1)
    weights = attribution(drawn, candidates)
    assert torch.allclose(attribution(drawn, candidates[order]), weights[:, order])
    assert torch.allclose(attribution(drawn[1:], candidates)[0], weights[1])


def test_candidates_are_what_the_run_learned_from_and_never_the_picture_itself(finished_run):
    run, _ = finished_run()
    found = candidates_of(run)
    assert found.kinds == (FORGET,) * run.images_seen["forget_real"] + (DRAWN,) * run.images_seen["forget_drawn"] + (
        KEPT,
    ) * int(run.replay.kept.sum())
    own = found.rows >= 0
    assert torch.equal(found.images[own], run.replay.samples.images[found.rows[own]])
    for place in (0, len(run.replay.grid) - 1):
        candidates, before, after = origins(run, place)
        assert len(candidates.kinds) == len(candidates.images) == len(found.kinds) - 1
        assert not (candidates.rows == run.replay.grid[place]).any()
        assert torch.equal(before.image, run.previews[0].images[place])
        assert torch.equal(after.image, run.previews[-1].images[place])
        assert len(before.nearest) == NEAREST
        assert before.weights[before.nearest[0]] == before.weights.max()


def test_a_method_without_forget_images_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="esd sees no forget images, so there is nothing to compare with"):
        candidates_of(SimpleNamespace(recipe=SimpleNamespace(method="esd")))

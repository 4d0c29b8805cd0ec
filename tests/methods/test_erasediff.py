"""EraseDiff: the constraint has just enough weight for the forget loss to fall."""

import pytest
import torch

from vdu.methods.erasediff import multiplier
from vdu.run import REACHED, SPENT


def gradients(seed: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((3, 2), (5,))]


def inner(one: list[torch.Tensor], two: list[torch.Tensor]) -> float:
    return sum((first * second).sum().item() for first, second in zip(one, two, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_step_lowers_the_forget_loss_at_least_at_the_asked_rate_and_no_more_than_needed(seed):
    retain, forget, eta = gradients(seed), gradients(seed + 100), 0.3
    weight = multiplier(retain, forget, eta).item()
    step = [one + weight * two for one, two in zip(retain, forget, strict=True)]
    rate = inner(step, forget) / inner(forget, forget)
    assert rate >= eta - 1e-9
    assert weight == 0 or rate == pytest.approx(eta)


def test_where_both_agree_the_constraint_weighs_nothing_and_where_they_oppose_it_undoes_the_retain_set():
    forget = gradients(0)
    assert multiplier([2 * part for part in forget], forget, 0.5).item() == 0
    assert multiplier([-part for part in forget], forget, 0.5).item() == pytest.approx(1.5)


def test_a_run_sees_real_forget_images_and_drawn_ones_of_the_rest(finished_run):
    run, _ = finished_run(method="erasediff", max_damage=1.0, target=0.0)
    assert run.reason in (REACHED, SPENT)
    assert run.images_seen == {
        "forget_real": 500, "forget_drawn": 0, "neutral_drawn": 0, "retain_drawn": int(run.replay.kept.sum())
    }  # fmt: skip

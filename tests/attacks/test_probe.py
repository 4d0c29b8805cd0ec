"""A probe on the middle of the network: closed forms, and a network that is zero at the lower end."""

import pytest
import torch
from attack_states import attacked, carry_out, task, values, zero

from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, probe
from vdu.attacks.probe import UNTRAINED, middle, ranked_above, untrained
from vdu.models import from_uint8


def test_pairs_are_counted_and_ties_count_half():
    of_it = torch.tensor([True, True, False, False])
    assert ranked_above(torch.tensor([3.0, 1.0, 2.0, 0.0]), of_it) == 0.75
    assert ranked_above(torch.zeros(4), of_it) == 0.5
    assert ranked_above(torch.tensor([1.0, 1.0, 0.0, 0.0]), of_it) == 1


def test_the_original_is_read_best_and_a_network_that_is_zero_not_at_all(monkeypatch):
    monkeypatch.setattr(probe, "TIMES", (100,))
    monkeypatch.setattr(probe, "PICTURES", 40)
    result, last = carry_out(ATTACKS["probe"], attacked(zero(task().model)))
    assert last.done == last.total
    ((original,), (nothing,), (random,)) = (values(result, name) for name in (ORIGINAL, UNLEARNED, UNTRAINED))
    assert nothing == 0.5
    assert original > 0.85
    assert nothing < random < original
    assert all(row.ci95[0] <= row.value <= row.ci95[1] for row in result.rows)
    assert "can be read less well than in the original" in result.sentence


def test_reading_leaves_the_network_as_it_was():
    model, states = task().model, from_uint8(task().forget_set().images[:3])
    one, two = (middle(model, states, 300, seed=0) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 96)
    assert not model.unet.mid_block._forward_hooks
    state = torch.random.get_rng_state()
    other = untrained(model, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(middle(other, states, 300, seed=0), one)
    assert torch.equal(middle(model, states, 300, seed=0), one)
    assert torch.equal(middle(untrained(model, seed=0), states, 300, seed=0), middle(other, states, 300, seed=0))


def test_it_needs_pictures_of_other_things():
    assert ATTACKS["probe"].misfit(attacked()) == ""
    with pytest.raises(AttributeError):
        _ = task().model.unet.no_such_block

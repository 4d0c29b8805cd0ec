"""Pictures under noise: the untouched model and a network that is zero come out at the two ends."""

import dataclasses

from attack_states import attacked, carry_out, task, values, zero

from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, complete


def test_the_original_finishes_what_it_sees_and_a_network_that_is_zero_nothing(monkeypatch):
    monkeypatch.setattr(complete, "SKIPS", (2, 3))
    result, last = carry_out(ATTACKS["complete"], attacked(zero(task().model), images=16))
    assert last.done == last.total
    places = [row.at for row in result.rows if row.model == ORIGINAL]
    assert places == sorted(places)
    original, nothing = values(result, ORIGINAL), values(result, UNLEARNED)
    assert original[0] > 0.8
    assert nothing[-1] < 0.2
    assert original[0] > original[-1] > nothing[-1]
    assert f"t = {places[-1]}" in result.sentence or f"t = {places[0]}" in result.sentence
    pictures = result.strips[0]
    assert pictures.model == "pictures"
    assert pictures.framed.double().mean() > 0.8


def test_the_same_seed_gives_the_same_figures():
    one, two = (carry_out(ATTACKS["complete"], attacked())[0] for _ in range(2))
    assert one.rows == two.rows
    assert values(one, ORIGINAL) == values(one, UNLEARNED)
    assert len(carry_out(ATTACKS["complete"], attacked(sampler_steps=2))[0].rows) == 2
    other = dataclasses.replace(attacked(), seed=1)
    assert not carry_out(ATTACKS["complete"], other)[0].strips[-1].images.equal(one.strips[-1].images)

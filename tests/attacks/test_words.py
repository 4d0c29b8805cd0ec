"""Other words and more guidance, on the shipped text-to-image model."""

from attack_states import attacked, carry_out, values, zero

from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, fitting, words
from vdu.attacks.words import KINDS, pooled

GARMENTS = {"model": "tiny-sd", "forget": "red", "sampler_steps": 4}


def test_rates_are_pooled_by_name():
    assert pooled({"a": [True, False]})["a"]["rate"] == 0.5
    assert pooled({"a": [True, False]})["a"]["count"] == 2


def test_the_original_draws_what_it_is_asked_for_and_a_network_that_is_zero_does_not(monkeypatch):
    monkeypatch.setattr(words, "STEPS", {3.0: 4})
    given = attacked(images=16, **GARMENTS)
    assert [*fitting(given)] == ["relearn", "complete", "invert", "probe", "words"]
    given.models[UNLEARNED] = zero(given.models[ORIGINAL])
    result, last = carry_out(ATTACKS["words"], given)
    assert last.done == last.total
    named, told, kept = KINDS
    assert values(result, ORIGINAL, named)[0] > 0.7
    assert values(result, ORIGINAL, told)[0] > 0.5
    assert values(result, ORIGINAL, kept)[0] > 0.5 > values(result, UNLEARNED, kept)[0]
    assert {row.at for row in result.rows} == {3.0}
    assert sum(figures["count"] for figures in result.more["words"][UNLEARNED].values()) == given.images // 2
    assert "suffers most" in result.sentence

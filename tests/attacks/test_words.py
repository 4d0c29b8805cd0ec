"""Other words and more guidance, on the shipped text-to-image model."""

from attack_states import attacked, carry_out, values, zero

from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, fitting, words
from vdu.attacks.words import KINDS, Hits
from vdu.intervals import wilson

GARMENTS = {"model": "tiny-sd", "forget": "red", "sampler_steps": 4}


def test_rates_are_pooled_by_name_and_images_of_one_seed_count_once():
    hits = Hits()
    for name, seed, hit in [("a", 0, True), ("a", 0, True), ("b", 1, False), ("b", 1, False)]:
        hits.add(name, seed, hit)
    assert hits.rates()["a"] == {"rate": 1.0, "rate_ci95": wilson(1, 1), "count": 2, "seeds": 1}
    assert hits.overall() == {"rate": 0.5, "rate_ci95": wilson(1, 2), "count": 4, "seeds": 2}


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

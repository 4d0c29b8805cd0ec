"""Rates of what the judge sees, counted by hand."""

import pytest
import torch
from evidence import NOTHING, ONE_OF_THREE, RED, digits, samples_of

from vdu.concepts.base import EARLIER, INSTEAD, KEPT, PARAPHRASE, TARGET, UNPROMPTED, PromptSpec
from vdu.intervals import wilson
from vdu.judges.error_rates import ErrorRates
from vdu.metrics import Evidence, measure, rate
from vdu.metrics.rates import CONFIDENT, percentage_of_unlearning


def test_percentage_of_unlearning():
    assert percentage_of_unlearning((40, 200), (10, 200))["pul"] == pytest.approx(75)


def test_rates_of_a_model_without_prompts():
    figures = measure(Evidence(digits([0, 0, 1, 2]), ONE_OF_THREE, NOTHING))
    assert (figures["forget_rate"], figures["ua"]) == (0.5, 0.5)
    assert figures["class_shares"] == {"0": 0.5, "1": 0.25, "2": 0.25}
    assert figures["class_shares_ci95"]["2"] == wilson(1, 4)
    assert (figures["target_samples"], figures["retained_samples"], figures["confident"]) == (4, 2, 1.0)
    assert figures["retain_fid"] is figures["retain_fid_floor"] is None
    assert figures["forgotten_before"] == {}
    assert not {"ira", "cra", "pul", "forget_rate_corrected", "retained_drift"} & set(figures)


def test_what_a_changed_model_is_compared_with():
    evidence = Evidence(digits([0, 1, 1, 2]), ONE_OF_THREE, NOTHING, ErrorRates(20, 18, 20, 19, False), digits([0, 0, 1, 2]))
    figures = measure(evidence)
    assert figures["pul"] == pytest.approx(50)
    assert figures["forget_rate_corrected"] == pytest.approx((0.25 - 0.05) / 0.85)
    assert figures["retained_same_class"] == 1


def test_prompts_are_obeyed_or_not():
    cat, dog, red, green, blue, open_ = 0, 1, 2, 3, 4, -1
    rows = [  # kind, asked for, shown
        (TARGET, (cat, red), (cat, red)),
        (TARGET, (dog, red), (cat, blue)),
        (KEPT, (cat, green), (cat, green)),
        (KEPT, (cat, blue), (dog, green)),
        (KEPT, (dog, open_), (dog, blue)),
        (PARAPHRASE, (cat, red), (cat, red)),
        (INSTEAD, (cat, red), (cat, green)),
        (INSTEAD, (cat, red), (cat, red)),
        (UNPROMPTED, (cat, red), (cat, blue)),
        (EARLIER, (dog, green), (dog, green)),
        (EARLIER, (dog, green), (dog, blue)),
        (EARLIER, (dog, green), (cat, green)),
        (EARLIER, (dog, green), (cat, green)),
    ]
    samples = samples_of([shown for _, _, shown in rows], [PromptSpec(kind, "", asked) for kind, asked, _ in rows])
    figures = measure(Evidence(samples, RED, NOTHING))
    shares = {name: figures[name] for name in ("forget_rate", "ua", "ira", "cra", "cra_target")}
    assert shares == {"forget_rate": 1 / 2, "ua": 1 / 2, "ira": 1 / 2, "cra": 3 / 5, "cra_target": 1 / 2}
    assert (figures["paraphrase_rate"], figures["paraphrase_rate_n"]) == (1, 1)
    assert (figures["instead_rate"], figures["instead_rate_n"]) == (1 / 2, 2)
    assert (figures["unprompted_rate"], figures["unprompted_rate_n"]) == (0, 1)
    assert figures["instead_rate_ci95"] == wilson(1, 2)
    assert figures["ira_ci95"] == wilson(1, 2)
    assert figures["class_shares"] == {"red": 0.5, "green": 0.0, "blue": 0.5}
    assert figures["forgotten_before"] == {"green dog": rate("forget_rate", torch.tensor([True, False, False, False]))}


def test_where_no_kept_prompt_says_the_colour_its_accuracy_is_not_known():
    specs = [PromptSpec(TARGET, "", (0, 2)), PromptSpec(KEPT, "", (0, -1))]
    assert measure(Evidence(samples_of([(0, 2), (0, 4)], specs), RED, NOTHING))["ira"] is None


@pytest.mark.parametrize(("certain", "share"), [(CONFIDENT - 0.01, 0.0), (CONFIDENT + 0.01, 1.0)])
def test_a_sample_is_clear_when_some_class_gets_more_than_four_fifths(certain, share):
    figures = measure(Evidence(samples_of([[0], [1]], certain=certain), ONE_OF_THREE, NOTHING))
    assert (figures["confident"], figures["confident_ci95"]) == (share, wilson(int(2 * share), 2))

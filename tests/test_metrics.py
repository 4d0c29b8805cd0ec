"""Metrics against values known by hand, and how they find their way into a report."""

from types import SimpleNamespace

import pytest
import torch

from vdu import metrics
from vdu.concepts.base import EARLIER, INSTEAD, KEPT, PARAPHRASE, TARGET, UNPROMPTED, PromptSpec
from vdu.export import model_card
from vdu.intervals import least_rate
from vdu.judges.error_rates import ErrorRates
from vdu.metrics import (
    METRICS,
    Evidence,
    Metric,
    Moments,
    fid_interval,
    frechet_distance,
    load_statistics,
    measure,
    rate,
    real_floor,
    relative_drift,
    save_statistics,
    table_metrics,
    total_variation,
    wilson,
)
from vdu.metrics.drift import changes
from vdu.metrics.rates import percentage_of_unlearning
from vdu.report import figure_rows
from vdu.samples import Samples

NOTHING = SimpleNamespace(statistics={})
# Two axes, as of garments in colours: cat and dog are of the first, red, green and blue of the second.
AXES = {"animal": ("cat", "dog"), "colour": ("red", "green", "blue")}
RED = SimpleNamespace(
    axes=AXES,
    classes=("cat", "dog", "red", "green", "blue"),
    takes_prompts=True,
    class_sets=((2,),),
    excluded_class_sets=((2,), (1, 3)),
    axes_named=[1],
    retained_classes=["green", "blue"],
    forgotten=("green dog",),
    class_sets_of={"green dog": ((1, 3),)}.get,
)
ONE_OF_THREE = SimpleNamespace(
    axes={"digit": ("0", "1", "2")},
    classes=("0", "1", "2"),
    takes_prompts=False,
    class_sets=((0,),),
    excluded_class_sets=((0,),),
    axes_named=[0],
    retained_classes=["1", "2"],
    forgotten=(),
)


def samples_of(classes, specs=None, features=None, certain=0.9) -> Samples:
    """Samples judged to be of classes (n, axes), with a probability."""
    classes = torch.tensor(classes)
    probabilities = torch.zeros(len(classes), 5).scatter(1, classes, certain)
    features = torch.zeros(len(classes), 2, dtype=torch.float64) if features is None else features
    return Samples(
        torch.zeros(len(classes), 1, 2, 2), probabilities, features, classes, tuple(specs or [PromptSpec()] * len(classes))
    )


def digits(shown, features=None) -> Samples:
    """Samples of a model without prompts."""
    return samples_of([[digit] for digit in shown], features=features)


def test_wilson_interval_of_half():
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.4038, abs=1e-4)
    assert high == pytest.approx(0.5962, abs=1e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_a_rate_of_nothing_is_not_known():
    assert rate("share", torch.tensor([True, False])) == {"share": 0.5, "share_ci95": wilson(1, 2)}
    assert rate("share", torch.tensor([])) == {"share": None, "share_ci95": None}


def test_percentage_of_unlearning():
    assert percentage_of_unlearning((40, 200), (10, 200))["pul"] == pytest.approx(75)


def test_moments_of_the_union_are_those_of_the_parts_pooled():
    cloud = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled, whole = Moments.pooled([Moments.of(part) for part in cloud.split([7, 13, 10])]), Moments.of(cloud)
    assert pooled.count == 30
    torch.testing.assert_close(pooled.mean, whole.mean)
    torch.testing.assert_close(pooled.covariance, whole.covariance)


def test_statistics_are_read_back(tmp_path):
    parts = {"a/b": Moments.of(torch.tensor([[0.0, 1.0], [2.0, 5.0]])), "c": Moments.of(torch.eye(2))}
    save_statistics(parts, tmp_path / "statistics.safetensors")
    read = load_statistics(tmp_path / "statistics.safetensors")
    assert list(read) == ["a/b", "c"]
    assert read["a/b"].count == 2
    assert read["a/b"].mean.tolist() == [1, 3]
    assert read["a/b"].covariance.tolist() == [[2, 4], [4, 8]]


def test_frechet_distance_of_diagonal_gaussians():
    one = Moments(10, torch.zeros(2, dtype=torch.float64), torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    two = Moments(10, torch.ones(2, dtype=torch.float64), torch.diag(torch.tensor([9.0, 4.0], dtype=torch.float64)))
    assert frechet_distance(one, two) == pytest.approx(2 + (3 - 1) ** 2)
    assert frechet_distance(one, one) == pytest.approx(0)


def test_the_interval_of_a_frechet_distance_narrows_as_the_root_of_n():
    reference = Moments(10, torch.tensor([3.0, 0.0]).double(), torch.diag(torch.tensor([1.0, 0.0]).double()))
    features = torch.randn(6400, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 0.0])
    widths = []
    for count in (400, 6400):
        low, high = fid_interval(features[:count], reference)
        assert low < frechet_distance(Moments.of(features[:count]), reference) < high
        widths.append(high - low)
    # The distance is about (mean - 3)^2: its standard deviation is 6 / sqrt(n).
    assert widths[0] == pytest.approx(2 * 1.96 * 6 / 20, rel=0.35)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)
    same = torch.ones(5, 2)
    assert fid_interval(same, Moments.of(same)) == (0, 0)


def test_the_floor_of_all_real_images_is_their_own_distance():
    real = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = Moments.of(real + 1)
    assert real_floor(real, reference, 20) == pytest.approx(2)
    assert real_floor(real, reference, 5) > 0
    assert real_floor(real, reference, 40) > 0  # more than there are


def test_total_variation():
    assert total_variation([2, 2], [30, 10]) == pytest.approx(0.25)
    assert total_variation([1, 0], [0, 5]) == 1
    assert total_variation([3, 1], [6, 2]) == 0
    assert total_variation([0, 0], [1, 1]) == 1


def test_relative_drift():
    before = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    assert relative_drift(before, before) == 0
    assert relative_drift(before, before + torch.tensor([0.0, 1.0])) == pytest.approx(1 / 4)
    assert relative_drift(torch.zeros(2, 2), torch.ones(2, 2)) == 0


def test_changes_are_counted_over_the_seeds_that_drew_the_rest():
    moved = torch.tensor([[9.0, 9.0], [0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    after = digits([1, 1, 1, 1, 0], moved + torch.tensor([0.0, 1.0]))
    before = digits([0, 1, 1, 2, 2], moved)
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING, None, before)) == {
        "retained_drift": pytest.approx(0.5),  # one unit up, where unrelated seeds are two apart
        **rate("retained_same_class", torch.tensor([True, True, False, False])),
        "retained_share_tv": pytest.approx(0.5),  # from half and half to all and nothing
        "least_retained_ratio": 0.0,
        "least_retained_class": "2",
    }
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING, None, digits([0] * 5))) == {}
    assert changes(Evidence(after, ONE_OF_THREE, NOTHING)) == {}


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


def test_the_distance_to_real_images_is_that_of_the_retained_samples():
    features = torch.tensor([[9.0, 9.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    real = {"0": features, "1": features[1:], "2": features[1:] + 1}
    reference = SimpleNamespace(statistics={name: Moments.of(part) for name, part in real.items()}, real_features=real.get)
    figures = measure(Evidence(digits([0, 1, 2], features), ONE_OF_THREE, reference))
    pooled = Moments.of(torch.cat([real["1"], real["2"]]))
    assert figures["retain_fid"] == pytest.approx(frechet_distance(Moments.of(features[1:]), pooled))
    assert figures["retain_fid_floor"] > 0
    assert measure(Evidence(digits([0, 0, 2], features), ONE_OF_THREE, reference))["retain_fid"] is None  # of one image


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
    rates = {kind: (figures[f"{kind}_rate"], figures[f"{kind}_samples"]) for kind in (PARAPHRASE, INSTEAD, UNPROMPTED)}
    assert rates == {PARAPHRASE: (1, 1), INSTEAD: (1 / 2, 2), UNPROMPTED: (0, 1)}
    assert figures["ira_ci95"] == wilson(1, 2)
    assert figures["class_shares"] == {"red": 0.5, "green": 0.0, "blue": 0.5}
    assert figures["forgotten_before"] == {"green dog": rate("forget_rate", torch.tensor([True, False, False, False]))}


def test_where_no_kept_prompt_says_the_colour_its_accuracy_is_not_known():
    specs = [PromptSpec(TARGET, "", (0, 2)), PromptSpec(KEPT, "", (0, -1))]
    assert measure(Evidence(samples_of([(0, 2), (0, 4)], specs), RED, NOTHING))["ira"] is None


def test_the_least_rate_is_the_one_at_which_as_many_hits_come_one_time_in_twenty():
    assert least_rate(0, 24) == 0
    assert least_rate(1, 24) == pytest.approx(1 - 0.95 ** (1 / 24))  # closed form for a single hit
    assert least_rate(24, 24) == pytest.approx(0.05 ** (1 / 24))
    assert least_rate(1, 24) < least_rate(2, 24) < 2 / 24


def test_rows_can_be_shown():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in table_metrics():
        assert metric.meaning
        assert len(metric.meaning) <= 90
        assert metric.text({metric.key: None}) == metric.text(None) == "–"
        assert metric.text({metric.key: 0.5, f"{metric.key}_ci95": (0.25, 0.75)}).count(" – ") == 1


NEW = '''
"""A metric that nobody has heard of."""
from vdu.metrics import Metric
METRICS = (Metric("brightness", lambda evidence: {"brightness": evidence.samples.images.mean().item()}, "Brightness",
                  "mean of the pixels", "{:.1f}"),)
'''


@pytest.fixture
def brightness(tmp_path, monkeypatch):
    """A metric in a file of its own."""
    (tmp_path / "brightness_of_a_test.py").write_text(NEW)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    metrics._collected.cache_clear()
    yield
    metrics._collected.cache_clear()


def test_a_new_file_is_a_new_row_of_report_table_and_card(brightness):
    figures = measure(Evidence(digits([0, 1, 2]), ONE_OF_THREE, NOTHING))
    assert figures["brightness"] == 0
    assert ("Brightness", "mean of the pixels", "0.0", "–") in figure_rows(figures, None)
    report = {
        "model": "mnist-ddpm", "forget": "0", "forgotten": ["0"], "method": "vdu", "earlier": [], "seed": 0, "samples": 3,
        "before": figures, "after": figures | {"brightness": 1.5}, "steps_taken": 1, "scale": 1.0, "stopped_because": "done",
    }  # fmt: skip
    assert "- Brightness: 0.0 → 1.5\n" in model_card(report)


def test_a_table_leaves_out_what_neither_side_has():
    rows = figure_rows({"forget_rate": 0.5, "forget_rate_ci95": (0.25, 0.75)}, {"forget_rate": 0.0, "retained_drift": 0.3})
    assert [row[0] for row in rows] == ["Forget rate", "Drift"]
    assert rows[0][2:] == ("50.0% [25.0% – 75.0%]", "0.0%")
    assert rows[1][2:] == ("–", "0.30")


def test_a_value_without_an_interval_is_written_alone():
    assert Metric("key", lambda _: {}, format="{:.2f}").text({"key": 1}) == "1.00"

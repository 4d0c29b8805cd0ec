"""What all metrics share: each has a test of its own, and finds its way into a report."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from evidence import NOTHING, ONE_OF_THREE, digits

from vdu import metrics
from vdu.export import model_card
from vdu.metrics import METRICS, Evidence, Metric, measure, pooled, rate, table_metrics, wilson
from vdu.registry import collect


def test_a_rate_of_nothing_is_not_known():
    assert rate("share", torch.tensor([True, False])) == {"share": 0.5, "share_ci95": wilson(1, 2), "share_n": 2}
    assert rate("share", torch.tensor([])) == {"share": None, "share_ci95": None, "share_n": 0}


def test_a_rate_over_runs_is_that_of_all_their_samples():
    runs = [rate("share", torch.arange(count) < 3) for count in (10, 90)]
    assert pooled("share", runs) == {"share": 0.06, "share_ci95": wilson(6, 100), "share_n": 100}
    assert pooled("share", [*runs, {"share": 0.5}]) is None
    assert pooled("share", [*runs, rate("share", torch.tensor([]))]) is None
    assert pooled("share", []) is None


def test_rows_can_be_shown():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in table_metrics():
        assert metric.meaning
        assert len(metric.meaning) <= 90
        assert metric.text({metric.key: None}) == metric.text(None) == "–"
        assert metric.text({metric.key: 0.5, f"{metric.key}_ci95": (0.25, 0.75)}).count(" – ") == 1


def test_two_metrics_of_one_key_are_refused(level, tmp_path):
    (tmp_path / "second_level_of_a_test.py").write_text(NEW)
    metrics._collected.cache_clear()
    with pytest.raises(ValueError, match="two metrics have the key level"):
        table_metrics()


def test_an_error_names_its_metric(monkeypatch):
    broken = Metric("level", lambda evidence: {"level": evidence.nothing}, "Level")
    monkeypatch.setattr(metrics, "_collected", lambda: (broken,))
    with pytest.raises(AttributeError) as found:
        measure(Evidence(digits([0]), ONE_OF_THREE, NOTHING))
    assert found.value.__notes__ == ["while computing the metric level"]


def strings_of_tests(path: Path) -> set[str]:
    """The strings in the test functions of a file."""
    assert path.is_file(), f"write {path.parent.name}/{path.name}, with a test that names the metric's key"
    tests = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "").startswith("test_")]
    return {node.value for test in tests for node in ast.walk(test) if isinstance(getattr(node, "value", None), str)}


@pytest.mark.parametrize("module", dict(collect(metrics, "METRICS")))
def test_every_metric_has_a_test_in_the_file_of_its_module(module):
    keys = {metric.key for metric in getattr(metrics, module).METRICS}
    assert keys - strings_of_tests(Path(__file__).with_name(f"test_{module}.py")) == set()


NEW = '''
"""A metric that nobody has heard of."""
from vdu.metrics import Metric
METRICS = (Metric("level", lambda evidence: {"level": evidence.samples.images.mean().item()}, "Level",
                  "mean of the pixels", "{:.1f}"),)
'''


@pytest.fixture
def level(tmp_path, monkeypatch):
    """A metric in a file of its own."""
    (tmp_path / "level_of_a_test.py").write_text(NEW)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    metrics._collected.cache_clear()
    yield
    metrics._collected.cache_clear()


def test_a_new_file_is_a_new_row_of_report_table_and_card(level):
    figures = measure(Evidence(digits([0, 1, 2]), ONE_OF_THREE, NOTHING))
    assert figures["level"] == 0
    (row,) = [metric for metric in metrics.table_metrics() if metric.label == "Level"]
    assert (row.meaning, row.text(figures)) == ("mean of the pixels", "0.0")
    report = {
        "model": "mnist-ddpm", "forget": "0", "forgotten": ["0"], "method": "vdu", "earlier": [], "seed": 0, "samples": 3,
        "before": figures, "after": figures | {"level": 1.5}, "steps_taken": 1, "scale": 1.0, "stopped_because": "done",
    }  # fmt: skip
    assert "- Level: 0.0 → 1.5\n" in model_card(report, SimpleNamespace(folder=None, takes_prompts=False))


def test_a_value_is_written_with_its_interval_and_an_unknown_one_as_a_dash():
    rate = next(metric for metric in metrics.table_metrics() if metric.key == "forget_rate")
    assert rate.text({"forget_rate": 0.5, "forget_rate_ci95": (0.25, 0.75)}) == "50.0% [25.0% – 75.0%]"
    assert rate.text({}) == "–"


def test_a_value_without_an_interval_is_written_alone():
    assert Metric("key", lambda _: {}, format="{:.2f}").text({"key": 1}) == "1.00"

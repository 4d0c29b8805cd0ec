"""The table of figures."""

from vdu.metrics import table_metrics
from vdu.page.panels.figures import cell, table_html
from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def test_the_table_marks_what_was_not_measured():
    report = example_of("mnist-ddpm").report
    rate, distance = (next(metric for metric in table_metrics() if metric.key == key) for key in ("forget_rate", "retain_fid"))
    assert cell(report["before"], rate) == {"value": "9.8%", "interval": "8.1% – 11.8%"}
    assert cell({"forget_rate": 0.5}, rate) == {"value": "50.0%", "interval": ""}
    assert cell(None, rate) is None
    assert cell({"retain_fid": None}, distance) is None
    stopped = table_html(report | {"after": None})
    assert stopped.count("<td>–</td>") == stopped.count("<tr>") - 1
    assert table_html(report | {"before": None}) == ""


def test_a_row_says_what_it_means_and_is_only_named_if_it_is_empty():
    report = example_of("mnist-ddpm").report
    distance = next(metric for metric in table_metrics() if metric.key == "retain_fid")
    row = f'>{distance.label} <abbr title="lower is better">↓</abbr><div'
    assert row in table_html(report)
    unknown = {side: report[side] | {"retain_fid": None} for side in ("before", "after")}
    assert row not in table_html(report | unknown)
    assert f"Too little evidence for: {distance.label}. n = " in table_html(report | unknown)
    assert "Too little evidence" not in table_html(report)


def test_the_table_comes_with_the_last_figures(panels):
    example, panel = example_of("mnist-ddpm"), panels["FigureTable"]
    table = panel.render(example)[panel.table]
    assert "Forget rate" in table
    assert f"n = {example.report['samples']:,} samples before and after" in table
    assert panel.render(RunView("3", report=example.report | {"after": None}))[panel.table] == ""

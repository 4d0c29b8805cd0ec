"""The bars and the table of figures."""

from vdu.metrics import table_metrics
from vdu.page.panels.results import cell, table_html
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


def test_bars_come_with_the_first_figures_and_the_table_with_the_last(panels):
    example, panel = example_of("mnist-ddpm"), panels["Results"]
    shares, table = panel.render(example).values()
    assert "<svg" in shares
    assert "Forget rate" in table
    assert f"n = {example.report['samples']:,} samples before and after" in table
    running = panel.render(RunView("3", report=example.report | {"after": None}))
    assert "<svg" in running[panel.shares]
    assert running[panel.table] == ""
    assert "The figures appear once the samples are drawn" in panel.render(RunView("3"))[panel.shares]

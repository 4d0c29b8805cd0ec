"""A comparison as the page shows it: its table, what it hides, and words that want to be HTML."""

import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
import torch
from page_states import ESCAPED, HOSTILE

from vdu.methods import METHODS
from vdu.page.comparison import Comparison, Finished, compared_html, shuffled, strip_of, table_of
from vdu.page.view import example_of

NAMES = ("vdu-f", "neggrad", "salun")
SEEN = {"forget_real": 500, "forget_drawn": 20, "neutral_drawn": 0, "retain_drawn": 100}
STRIP = strip_of(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([True, False, False]))


def report(method="vdu-f", forget="3", seconds=12.0, **after) -> dict:
    """The report of the example, as of a method, with other figures."""
    given = example_of("mnist-ddpm").report
    return given | {
        "method": method,
        "forget": forget,
        "images_seen": SEEN if method == "vdu-f" else dict.fromkeys(SEEN, 0),
        "after": given["after"] | after,
        "seconds": {"unlearn": seconds, "total": 2 * seconds},
        "model_digest": "one",
    }


def comparison(names=NAMES, **changes) -> Comparison:
    """A comparison whose methods have all run."""
    rows = {name: Finished(report(name, forget=HOSTILE), (STRIP, None), (STRIP, STRIP)) for name in names}
    return Comparison("key", names, rows, **changes)


def named(html: str) -> set[str]:
    """The methods that HTML names in any way: in texts and in attributes other than classes and pictures."""
    words = re.sub(r"<style>.*?</style>|data:image/png;base64,[^\"]*|class=\"[^\"]*\"", "", html, flags=re.DOTALL)
    return {name for name, method in METHODS.items() if name in words or method.title in words}


def column(reports, number) -> list:
    """What a column of the table is sorted by."""
    return [row[number]["sort"] for row in table_of(reports)[2]]


def test_columns_are_sorted_by_numbers_and_what_was_not_measured_has_none():
    one = report(forget_rate=0.1, retain_fid=None, retain_fid_ci95=None, retained_same_class=0.5, seconds=100.0)
    two = report("neggrad", forget_rate=0.09, retained_same_class=0.25, seconds=9.0)
    forget, ratio, kept, seconds, images = (column([one, two], number) for number in range(5))
    assert forget == [0.1, 0.09]
    assert ratio[0] == ""
    assert ratio[1] == pytest.approx(two["after"]["retain_fid"] / two["before"]["retain_fid"])
    assert kept == [0.5, 0.25]
    assert seconds == [100.0, 9.0]
    assert images == [620, 0]
    html = compared_html(Comparison("key", ("vdu-f", "neggrad"), {
        "vdu-f": Finished(one, (STRIP, None), (STRIP, STRIP)), "neggrad": Finished(two, (STRIP, None), (STRIP, STRIP))
    }))  # fmt: skip
    body = html.split('<tbody class="methods">')[1].split("</tbody>")[0]
    assert re.findall(r'<td data-sort="([^"]*)"', body)[:2] == ["0.1", ""]
    assert len(re.findall(r'<td data-sort="([^"]*)"', body)) == 10


def test_models_with_prompts_are_compared_by_ira():
    figures = {"ira": 0.75, "ira_ci95": [0.7, 0.8]}
    given = report(**figures)
    heads, before, (cells,) = table_of([given | {"before": given["before"] | figures}])
    assert heads[2][0] == "IRA"
    assert (before[2]["text"], cells[2]["interval"]) == ("75.0%", "70.0% – 80.0%")


def test_every_method_has_a_row_of_figures_and_of_pictures_and_words_are_escaped():
    html = compared_html(comparison())
    assert "<script" not in html
    assert ESCAPED in html
    assert named(html) >= {*NAMES}
    assert html.count('class="row') == 5  # heads, before, methods
    assert html.count("<svg") == 1
    assert "prompts alone" in html
    assert "retain_fid_low" in unquote(re.search(r'href="data:text/csv[^,]*,([^"]*)"', html)[1])


def test_hidden_rows_name_no_method_and_no_figure_until_they_are_revealed():
    hidden = comparison(blind=True)
    html = compared_html(hidden)
    assert named(html) == set()
    assert "<table" not in html
    assert "<svg" not in html
    assert "results.csv" not in html
    assert re.findall(r'<button type=button class="row[^>]*data-pick="([^"]*)"', html) == ["A", "B", "C"]
    shown = compared_html(replace(hidden, revealed=True))
    assert "A: vdu-f" in shown
    assert "C: salun" in shown
    assert "<table" in shown
    assert "<button type=button" not in shown


def test_a_click_on_pictures_reveals_the_names_and_other_letters_do_nothing():
    hidden = comparison(blind=True)
    chosen = hidden.pick("B")
    assert chosen.best == "neggrad"
    assert "You chose B: neggrad." in compared_html(chosen)
    for letter in ("D", "before", "vdu-f", "None"):
        assert hidden.pick(letter) == hidden
    assert chosen.pick("A").best == "neggrad"
    assert comparison().pick("vdu-f").best == ""


def test_hidden_rows_appear_together_and_others_as_they_come():
    whole = comparison(under_way=True)
    part = replace(whole, rows={"neggrad": whole.rows["neggrad"]})
    assert [*part.shown] == ["neggrad"]
    assert part.missing == ["vdu-f", "salun"]
    assert compared_html(replace(part, blind=True)) == ""
    stopped = compared_html(replace(part, blind=True, under_way=False))
    assert 'data-pick="B"' in stopped
    assert 'data-pick="A"' not in stopped
    assert compared_html(Comparison("key", NAMES)) == ""


def test_the_order_of_hidden_rows_depends_on_the_seed_alone():
    orders = {seed: shuffled(NAMES, seed) for seed in range(20)}
    assert all(sorted(order) == sorted(NAMES) for order in orders.values())
    assert all(shuffled(reversed(NAMES), seed) == order for seed, order in orders.items())
    assert len({*orders.values()}) > 2


def test_rows_of_other_weights_are_dropped():
    row = Finished(report("vdu") | {"model_digest": "another"}, (None, None), (None, None))
    assert [*comparison().with_row("vdu", row).rows] == ["vdu"]
    same = replace(row, report=report("vdu"))
    assert [*comparison().with_row("vdu", same).rows] == [*NAMES, "vdu"]


def test_a_strip_has_a_row_of_images_at_most():
    assert strip_of(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0)) is None
    assert STRIP.width == 37.5
    assert strip_of(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20)).count == 8

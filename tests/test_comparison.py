"""Methods side by side: what each is run with, costs with their ends, the front, and the data that a method sees."""

import csv

import pytest
import torch

from vdu import charts
from vdu.comparison import (
    Point,
    changed_fields,
    costs,
    data_seen,
    fitting,
    pareto_front,
    recipe_for,
    results_csv,
    results_markdown,
)
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.metrics import rate
from vdu.models import SMALL, UNCONDITIONAL
from vdu.recipe import Recipe, resolve


def report(method, before, **after):
    figures = {"forget_rate": 0.1, "forget_rate_ci95": (0.05, 0.2), "retained_same_class": 0.5}
    return {"method": method, "before": before, "after": figures | after, "seconds": {"unlearn": 3.25}}


def test_a_changed_field_is_the_same_for_all_methods_and_the_others_are_each_method_s_own():
    recipe = resolve(Recipe(forget="7", steps=9, seed=4), UNCONDITIONAL)
    changed = changed_fields(recipe, UNCONDITIONAL)
    assert {"forget": "7", "steps": 9, "seed": 4}.items() <= changed.items()
    assert "method" not in changed
    assert recipe_for(changed, recipe.method, UNCONDITIONAL) == recipe
    other = recipe_for(changed, "vdu", UNCONDITIONAL)
    assert other == resolve(Recipe(forget="7", steps=9, seed=4, method="vdu"), UNCONDITIONAL)
    assert other.optimizer != recipe.optimizer
    assert changed_fields(other, UNCONDITIONAL) == changed  # so it does not matter which method the page shows


def test_methods_fit_a_kind_of_model_and_the_others_are_refused():
    assert fitting(UNCONDITIONAL)[0] == "vdu-f"
    assert {"uce", "esd"} <= set(fitting(SMALL)) - set(fitting(UNCONDITIONAL))
    with pytest.raises(UserError, match="Method uce cannot be used"):
        recipe_for({}, "uce", UNCONDITIONAL)


def test_the_cost_is_the_best_one_that_most_methods_have():
    before = {"retain_fid": 2.0, "ira": 0.9}
    fine, broken = report("a", before, retain_fid=3.0, ira=0.8), report("b", before, retain_fid=None, ira=0.25)
    label, points = costs({"a": [fine]})
    assert label == "u-FID after ÷ before"
    assert points["a"] == Point(10.0, 1.5, (5.0, 20.0), (1.5, 1.5))
    label, points = costs({"a": [fine], "b": [broken]})
    assert "IRA" in label
    assert [points[name].cost for name in "ab"] == pytest.approx([20, 75])
    no_pictures = {"retain_fid": None}
    label, points = costs({name: [report(name, no_pictures, retain_fid=fid)] for name, fid in (("a", None), ("b", 1.0))})
    assert label.startswith("kept seeds")
    assert [points[name][:2] for name in "ab"] == [(10.0, 50.0)] * 2


def test_a_cost_has_the_ends_of_its_interval_from_low_to_high():
    before = {"retain_fid": 2.0, "retain_fid_ci95": (1.5, 2.5)}
    _, points = costs({"a": [report("a", before, retain_fid=3.0, retain_fid_ci95=(2.0, 5.0))]})
    assert points["a"].cost_ends == (1.0, 2.5)
    _, points = costs({"a": [report("a", {"retain_fid": None}, retained_same_class_ci95=[0.25, 0.75])]})
    assert points["a"].cost_ends == (25.0, 75.0)  # of the seeds that draw another class


def test_several_runs_are_a_mean_with_an_interval_from_three_on():
    runs = [report("a", {"retain_fid": 2.0}, retain_fid=fid, forget_rate=rate) for fid, rate in ((2, 0.1), (4, 0.2), (6, 0.3))]
    _, points = costs({"two": runs[:2], "three": runs})
    assert points["two"][:2] == pytest.approx((15, 1.5))
    assert points["two"].cost_ends == (1, 2)  # from the one to the other
    assert points["three"].cost_ends == pytest.approx((0, 2 + 4.3027 / 3**0.5), abs=1e-3)  # Student's, and no cost is negative


def test_the_rate_of_several_runs_is_that_of_all_their_samples():
    none_left = [report("a", {"retain_fid": 2.0}, retain_fid=2.0, **rate("forget_rate", torch.zeros(50))) for _ in range(3)]
    _, points = costs({"a": none_left})
    assert points["a"].rate_ends == pytest.approx([100 * end for end in wilson(0, 150)])


def test_the_front_has_those_that_no_other_beats():
    values = {"best": (1, 1), "equal": (1, 1), "cheap": (2, 0.5), "worse": (2, 2), "same rate": (1, 3)}
    points = {name: Point(*value, (value[0],) * 2, (value[1],) * 2) for name, value in values.items()}
    assert pareto_front(points) == ["best", "equal", "cheap"]
    axes = charts.pareto({"": ("cost", points)}).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*points, "Pareto front"]


def test_the_data_that_a_method_sees_are_its_images_and_its_posterior():
    seen = {"forget_real": 500, "forget_drawn": 20, "neutral_drawn": 0, "retain_drawn": 1000}
    recipe = resolve(Recipe(), UNCONDITIONAL).to_dict()
    told = data_seen({"method": "vdu-f", "recipe": recipe, "images_seen": seen})
    assert [words.split()[0] for words in told] == ["500", "20", "1,000"]
    only = {"method": "vdu", "recipe": recipe | {"method": "vdu"}, "images_seen": {"forget_real": 500}}
    assert data_seen(only) == ["500 real forget images", "the posterior “checkpoints”"]
    assert data_seen({"method": "uce", "recipe": recipe, "images_seen": dict.fromkeys(seen, 0)}) == []


def test_the_tables_have_a_line_per_method():
    reports = [report(name, {"forget_rate": 0.3}) for name in ("a", "b")]
    rows = list(csv.DictReader(results_csv(reports).splitlines()))
    assert [(row["method"], row["seconds"], row["forget_rate_low"]) for row in rows] == [
        ("a", "3.25", "0.05"),
        ("b", "3.25", "0.05"),
    ]
    lines = results_markdown(reports).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| (before)", "| a", "| b"]
    assert "10.0% [5.0% – 20.0%]" in lines[3]

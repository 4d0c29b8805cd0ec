"""The few settings of each method: the rule of choice, the same number for all, and the page that gets the table."""

import pytest

from vdu.bench import tune
from vdu.cli import main
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.recipe import Recipe, resolve


def row(rate, ratio, **recipe):
    return {"forget_rate": rate, "forget_rate_ci95": (0.0, 0.1), "u_fid_ratio": ratio, "least_ratio": 0.5, "scale": 1.0,
            "recipe": {"step_size": 1e-4, "gamma": 0.5} | recipe}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(0.02, 3.0), (0.0, 4.0), (0.03, 1.0)], 0),  # gone, at the least cost
        ([(0.05, 1.5), (0.03, 2.0), (0.021, 2.1)], 1),  # none is gone: the least left at a fair cost
        ([(0.05, 2.5), (0.04, 9.0)], 1),  # none is fair
    ],
)
def test_the_rule_of_choice(rows, best):
    made = [row(*values) for values in rows]
    assert tune.choose(made) is made[best]


def test_every_setting_is_one_that_the_method_takes_and_all_have_as_many():
    for kinds in zip(*(kinds.values() for kinds in tune.TRIED.values()), strict=True):
        assert len({len(settings) for settings in kinds}) == 1
    for method, kinds in tune.TRIED.items():
        for kind, settings in kinds.items():
            for changes in settings:
                resolve(Recipe(method=method, **changes), kind)


def test_the_defaults_are_among_what_was_tried():
    for method, kinds in tune.TRIED.items():
        for kind, settings in kinds.items():
            assert {name: METHODS[method].defaults[kind][name] for name in ("step_size", "gamma")} in settings


def test_the_table_goes_between_the_marks_and_every_method_gets_its_turn_first(tmp_path, monkeypatch, capsys):
    asked = []

    def ran(recipe, known, target, show):
        asked.append((recipe.method, recipe.step_size, recipe.gamma))
        return row(0.01, 1.0 + len(asked), step_size=recipe.step_size, gamma=recipe.gamma)

    monkeypatch.setattr(tune, "row_for", ran)
    page = tmp_path / "tuning.md"
    page.write_text("# Head\n\n<!-- tune mnist-ddpm -->\nold\n<!-- /tune mnist-ddpm -->\ntail\n")
    command = ["bench", "tune", "--model", "mnist-ddpm", "--forget", "3", "--methods", "dimum", "fine-tune", "--budget", "2"]
    assert main([*command, "--out", str(tmp_path / "rows.json"), "--page", str(page)]) == 0
    assert [method for method, *_ in asked] == ["dimum", "fine-tune", "dimum", "fine-tune"]
    assert len(set(asked)) == 4
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("# Head", "tail", False)
    assert [line.split(" | ")[0].strip("| ") for line in lines[6:10]] == ["dimum"] * 2 + ["fine-tune"] * 2
    assert [line.endswith("| yes |") for line in lines[6:10]] == [True, False, True, False]
    assert "| dimum |" in capsys.readouterr().out


def test_what_cannot_be_tuned_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "row_for", lambda *given: pytest.fail("it ran"))
    with pytest.raises(UserError, match="no settings of siss to try on 'cifar10-ddpm'"):
        tune.tune(["siss"], "cifar10-ddpm", "cat", 1, 50, tmp_path / "rows.json", print)
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(UserError, match="has no place for the table"):
        tune.tune(["siss"], "mnist-ddpm", "3", 1, 50, tmp_path / "rows.json", print, page)

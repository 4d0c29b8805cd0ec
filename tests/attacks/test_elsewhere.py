"""The folder in plain diffusers: a network that is zero draws nothing there, and every sampler has a figure."""

import dataclasses
from typing import Any

import pytest
import torch
from attack_states import attacked, carry_out, task, values, zero

from vdu import charts
from vdu.attacking import chart_of, head_and_lines
from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, Attacked, elsewhere, fitting
from vdu.stock import STOCK

ATTACK = ATTACKS["elsewhere"]


def written(folder, images, **named: Any) -> Attacked:
    """The untouched model, and one whose network is zero, in a folder of its own."""
    model = zero(task(**named).model)
    model.save(folder)
    return dataclasses.replace(attacked(model, images, **named), unlearned_folder=folder)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(elsewhere, "half_precision", lambda device: torch.bfloat16)
    for name in elsewhere.SAMPLERS:
        monkeypatch.setitem(STOCK, name, (STOCK[name][0], 6))


def test_the_original_draws_it_with_every_sampler_and_a_network_that_is_zero_with_none(tmp_path):
    given = written(tmp_path / "zero", images=48)
    result, last = carry_out(ATTACK, given)
    assert last.done == last.total
    places = [*elsewhere.SAMPLERS, "Euler, bfloat16"]
    assert [row.at for row in result.rows if row.model == UNLEARNED] == places
    assert {row.count for row in result.rows} == {24}
    assert values(result, UNLEARNED) == [0, 0, 0, 0]
    assert max(values(result, ORIGINAL)) > 0
    assert "(Euler)" in result.sentence
    assert result.more == {"half_precision": "bfloat16"}
    head, lines = head_and_lines(ATTACK, result)
    assert head[1:] == [ORIGINAL, UNLEARNED]
    assert [line[0] for line in lines] == places
    assert lines[0][2] == "0 % [0–14]"


def test_with_prompts_there_is_a_figure_per_guidance_and_what_is_kept_is_told_pair_by_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "SAMPLERS", ("UniPC",))
    monkeypatch.setattr(elsewhere, "GUIDANCES", (1.0, 3.0))
    result, last = carry_out(ATTACK, written(tmp_path / "zero", images=16, model="tiny-sd", forget="red"))
    assert last.done == last.total
    places = [("UniPC", "guidance 1"), ("UniPC", "guidance 3"), ("Euler, bfloat16", "guidance 7.5")]
    assert [(row.at, row.series) for row in result.rows if row.model == UNLEARNED] == places
    assert values(result, ORIGINAL, "guidance 3")[0] > 0.7
    assert values(result, UNLEARNED, "guidance 3")[0] < 0.3
    kept = result.more["kept"]
    assert sum(figures["count"] for figures in kept[UNLEARNED].values()) == 2 * 16
    assert all(figures["rate_ci95"][0] <= figures["rate"] <= figures["rate_ci95"][1] for figures in kept[ORIGINAL].values())
    assert result.more["kept_overall"][ORIGINAL]["count"] == 2 * 16
    assert "All that is kept is drawn rightly in" in result.sentence
    assert "suffers most: drawn rightly in" in result.sentence
    head, lines = head_and_lines(ATTACK, result)
    assert [line[0] for line in lines] == [", ".join(place) for place in places]
    assert len(head) == 3
    drawing = charts.svg(charts.attacks([chart_of(ATTACK, result)]), "chart")
    assert "UniPC, guidance 3" in drawing


def test_it_needs_a_folder_that_diffusers_loads(tmp_path):
    assert ATTACK.misfit(attacked()) == "The unlearned model lies in no folder that diffusers could load."
    assert "elsewhere" not in fitting(attacked())
    assert "elsewhere" in fitting(dataclasses.replace(attacked(), unlearned_folder=tmp_path))


def test_where_half_precision_is_not_computed_natively_it_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "half_precision", lambda device: None)
    monkeypatch.setattr(elsewhere, "SAMPLERS", ("UniPC",))
    result, last = carry_out(ATTACK, written(tmp_path / "zero", images=8))
    assert last.done == last.total
    assert [row.at for row in result.rows] == ["UniPC", "UniPC"]
    assert result.more == {"half_precision": None}


def test_what_ships_of_the_original_is_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "SAMPLERS", ("UniPC",))
    monkeypatch.setattr(elsewhere, "half_precision", lambda device: None)
    given = written(tmp_path / "zero", images=8)
    shipped = torch.full((4, 1, 28, 28), 7, dtype=torch.uint8)
    own = given.models[ORIGINAL].folder
    assert given.models[UNLEARNED].folder == own  # as on the page: what is unlearned was loaded from there
    monkeypatch.setattr(elsewhere, "shipped_stock", lambda model, where, *_: shipped if where == own else None)
    result, last = carry_out(ATTACK, given)
    assert last.done == last.total
    assert torch.equal(result.strips[0].images, shipped)
    assert not torch.equal(result.strips[1].images, shipped)

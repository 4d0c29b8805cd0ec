"""How many pictures it takes: the numbers tried, and what is shown of each."""

from types import SimpleNamespace

import pytest
import torch
from page_states import ESCAPED, HOSTILE
from PIL import Image

from vdu.errors import UserError
from vdu.page.markup import png
from vdu.page.panels.pictures import counts_for, counts_html
from vdu.page.view import RunView

pytest_plugins = ["page_states"]


def test_the_experiment_needs_pictures():
    some = SimpleNamespace(images=torch.zeros(20, 1))
    run = SimpleNamespace(
        task=SimpleNamespace(forget_set=lambda: some),
        recipe=SimpleNamespace(method="vdu-f"),
        model=SimpleNamespace(takes_prompts=False),
    )
    assert counts_for(run) == [1, 4, 16, 20]
    run.task.forget_set = lambda: None
    for prompted, instead in ((False, "upload pictures of your own first"), (True, "choose a model that does")):
        run.model.takes_prompts = prompted
        with pytest.raises(UserError, match=f"This model ships no real pictures; {instead}"):
            counts_for(run)
    run.recipe.method = "uce"
    with pytest.raises(UserError, match="uce sees no pictures"):
        counts_for(run)


def test_every_number_has_its_strip_below_that_of_the_untouched_model():
    sheet = png(Image.new("L", (8, 8)))
    row = {"forget_rate": 0.5, "forget_rate_ci95": (0.4, 0.6), "u_fid_ratio": 1.2, "damage": 0.1, "sheets": [sheet, sheet]}
    rows = [row | {"number": number} for number in (1, 4)]
    counts = counts_html(rows, HOSTILE)
    assert "<script" not in counts
    assert ESCAPED in counts
    assert counts.count('class="vdu-strip"') == 3
    assert "u-FID after" in counts
    assert "kept images changed" in counts_html([*rows, row | {"number": 16, "u_fid_ratio": None}], HOSTILE)


def test_a_run_of_the_recipe_itself_leaves_the_experiment_as_it_is(panels):
    assert panels["Pictures"].outputs == []
    assert panels["Pictures"].render(RunView("3")) == {}

"""Who pays: the table of classes before and after, against what is counted by hand."""

import dataclasses

import pytest
import torch

from vdu.metrics import wilson
from vdu.page.panels.who_pays import MOST_PAIRS, cell, cost, pairs_html, row_titles, table_html
from vdu.page.view import LEFT_OPEN, NO_PROMPT, RunView, SamplePairs, example_of

pytest_plugins = ["page_states"]

BEFORE, AFTER = [0, 0, 1, 1, 1, 2], [1, 2, 1, 1, 2, 2]


def pairs(before=BEFORE, after=AFTER, **changes) -> SamplePairs:
    """Seeds of three classes, the first of which is forgotten."""
    seen = torch.tensor(before), torch.tensor(after)
    images = tuple(torch.full((len(before), 1, 8, 8), grey, dtype=torch.uint8) for grey in (50, 200))
    shows = tuple(side == 0 for side in seen)
    plain = SamplePairs("animal", ("cat", "dog", "emu"), ("cat",), images, seen, shows, seen[0] != 0)
    return dataclasses.replace(plain, **changes)


def numbers(view_pairs: SamplePairs) -> dict[tuple[int, int], str]:
    """The texts of all cells that are not empty."""
    places = [(row, column) for row in row_titles(view_pairs) for column in range(3)]
    return {(row, column): found["text"] for row, column in places if (found := cell(view_pairs, row, column))}


def test_without_prompts_a_cell_counts_the_seeds_that_went_from_its_row_to_its_column():
    assert numbers(pairs()) == {(0, 1): "1", (0, 2): "1", (1, 1): "2", (1, 2): "1", (2, 2): "1"}
    kinds = [cell(pairs(), *place)["kind"] for place in ((0, 1), (1, 1), (1, 2))]
    assert kinds == ["goes", "stays", "moves"]
    assert cell(pairs(), 1, 1)["ink"] > cell(pairs(), 1, 2)["ink"]


def test_with_prompts_a_cell_counts_before_and_after_in_the_row_of_the_prompt():
    asked = pairs(prompted=torch.tensor([0, 0, 1, 1, LEFT_OPEN, NO_PROMPT]))
    assert list(row_titles(asked).values()) == ["cat", "dog", "class left open", "no prompt"]
    assert numbers(asked) == {
        (0, 0): "2 → 0", (0, 1): "0 → 1", (0, 2): "0 → 1", (1, 1): "2",
        (LEFT_OPEN, 1): "1 → 0", (LEFT_OPEN, 2): "0 → 1", (NO_PROMPT, 2): "1",
    }  # fmt: skip
    assert cell(asked, LEFT_OPEN, 2)["kind"] == "open"
    assert pairs_html(asked, 0, 0).count("<img") == 2  # who showed it before, though nobody does any more


def test_the_cost_is_the_share_of_kept_seeds_that_changed():
    low, high = wilson(1, 4)
    assert cost(pairs()) == (
        f"1 of 4 kept seeds changed their animal: 25.0% [{low:.1%} – {high:.1%}]. Most often: dog\u00a0→\u00a0emu\u00a0(1)."
    )
    assert cost(pairs(after=BEFORE)).startswith("0 of 4 kept seeds changed their animal: 0.0% [0.0% – ")
    assert "Most often" not in cost(pairs(after=BEFORE))
    assert cost(pairs(before=[0] * 6)) == "No seed had to keep its class."


def test_a_cell_shows_its_pairs_and_only_as_many_as_fit():
    one = pairs_html(pairs(), 1, 2)
    assert one.count("<img") == 1
    assert "dog → emu: before and after" in one
    assert "1 seed." in one
    many = pairs_html(pairs([1] * 40, [2] * 40), 1, 2)
    assert many.count("<img") == MOST_PAIRS
    assert f"40 seeds, the first {MOST_PAIRS} shown" in many
    assert pairs_html(pairs(), 2, 0) == ""
    assert pairs_html(pairs(), 99, 0) == ""  # whatever a browser sends


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (example_of("mnist-ddpm"), "The stored example has no samples. Press Unlearn"),
        (RunView("3"), "The table appears once both models are measured."),
        (RunView("3", finished=True), "stopped before the unlearned model was measured"),
    ],
)
def test_without_samples_a_sentence_says_why(view, sentence):
    assert sentence in table_html(view)
    assert "<table" not in table_html(view)


def test_names_of_classes_are_escaped_and_cut_over_columns():
    name = "<b>" + 30 * "x"
    html = table_html(RunView("3", finished=True, pairs=pairs(classes=(name, "dog", "emu"), forgotten=(name,))))
    assert "<b>" not in html
    assert "&lt;b&gt;" + 19 * "x" + "…" in html
    assert "upright" in html.split("</style>")[1]


def test_another_run_clears_the_pairs(panels):
    panel = panels["WhoPays"]
    rendered = panel.render(RunView("cat", finished=True, pairs=pairs()))
    assert "1 of 4 kept seeds changed" in rendered[panel.table]
    assert rendered[panel.pairs] == ""

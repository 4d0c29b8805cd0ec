"""Who pays for forgetting: the class of every seed before and after."""

from collections import Counter
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vdu.metrics import wilson
from vdu.page.markup import png, render
from vdu.page.panel import AT_ONCE, Page, Panel
from vdu.page.session import Session
from vdu.page.view import LEFT_OPEN, NO_PROMPT, RunView, SamplePairs
from vdu.sheet import sheet

MOST_PAIRS = 24  # pairs of images shown per cell
MOST_CHANGES = 3  # changes of class that the sentence below the table names
LONGEST_TITLE = 22  # letters of a class name above its column
NO_BREAK = "\u00a0"  # no-break space
OPEN_ROWS = {LEFT_OPEN: "class left open", NO_PROMPT: "no prompt"}
CLICK = "Click a number to see its pairs of images."
READ = f"Row: what a seed drew before. Column: what it draws now. {CLICK}"
READ_PROMPTED = f"Row: what the prompt names. Column: what the judge sees, before → after. {CLICK}"
# A click reaches the server as the row and column of the cell; the cell stays marked.
ON_CLICK = """
element.addEventListener("click", event => {
  const cell = event.target.closest("button[data-row]");
  if (!cell) return;
  element.querySelectorAll("button[data-row]").forEach(one => one.setAttribute("aria-pressed", one === cell));
  trigger("click", {row: Number(cell.dataset.row), column: Number(cell.dataset.column)});
});
"""


class WhoPays(Panel):
    """A table of classes before against classes after; a click on a cell shows its pairs of images."""

    order = 45

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.table = gr.HTML(table_html(page.first_view), elem_id="who-pays", js_on_load=ON_CLICK)
        self.pairs = gr.HTML(elem_id="pairs")
        self.outputs = [self.table, self.pairs]
        self.table.click(show_pairs, page.state, self.pairs, show_progress="hidden", **AT_ONCE)

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.table: table_html(view), self.pairs: ""}


def show_pairs(session: Session | None, click: gr.EventData) -> str:
    """The pairs of images in the cell that the visitor has clicked."""
    if session is None or session.view.pairs is None:
        return ""
    return pairs_html(session.view.pairs, int(click._data["row"]), int(click._data["column"]))


def table_html(view: RunView) -> str:
    """The table, or a sentence that says why there is no table."""
    pairs = view.pairs
    if pairs is None:
        return render("who_pays", why=why_none(view), read="", rows=[], columns=[], upright=False, cost="")
    columns = sorted({*pairs.seen[0].tolist(), *pairs.seen[1].tolist()})
    rows = [{"title": title, "forgotten": title in pairs.forgotten, "cells": [cell(pairs, row, column) for column in columns]}
            for row, title in row_titles(pairs).items()]  # fmt: skip
    titles = [pairs.classes[column] for column in columns]
    return render(
        "who_pays",
        why="",
        read=READ if pairs.prompted is None else READ_PROMPTED,
        rows=rows,
        columns=[{"title": title, "short": shortened(title), "forgotten": title in pairs.forgotten} for title in titles],
        upright=max(map(len, titles)) > 2,
        cost=cost(pairs),
    )


def why_none(view: RunView) -> str:
    """Why a run has no pairs of images."""
    if view.example:
        return f"The stored example has no samples. Press Unlearn to see which classes pay for forgetting {view.forget}."
    if not view.finished:
        return "The table appears once both models are measured."
    return "The run was stopped before the unlearned model was measured, so there is nothing to compare."


def row_titles(pairs: SamplePairs) -> dict[int, str]:
    """Row number -> its title: the classes in their order, then the rows without a class."""
    present = sorted(set(rows_of(pairs).tolist()), key=lambda row: (row < 0, abs(row)))
    return {row: OPEN_ROWS[row] if row < 0 else pairs.classes[row] for row in present}


def rows_of(pairs: SamplePairs) -> Tensor:
    """The row of each seed, (n,): the class that its prompt names; without prompts, the class that it drew before."""
    return pairs.seen[0] if pairs.prompted is None else pairs.prompted


def in_cell(pairs: SamplePairs, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Which seeds of a row showed the class of a column before, and which show it after; bool (n,) each."""
    return tuple((rows_of(pairs) == row) & (seen == column) for seen in pairs.seen)


def cell(pairs: SamplePairs, row: int, column: int) -> dict[str, Any] | None:
    """Text, colour and position of a cell; None if no seed is in it."""
    before, after = (int(seeds.sum()) for seeds in in_cell(pairs, row, column))
    prompted = pairs.prompted is not None
    if not after and not (prompted and before):
        return None
    forgotten = [index >= 0 and pairs.classes[index] in pairs.forgotten for index in (row, column)]
    if row < 0:
        kind = "goes" if forgotten[1] else "open"
    else:
        kind = "goes" if forgotten[0] else "stays" if row == column else "moves"
    return {
        "row": row,
        "column": column,
        "text": f"{before} → {after}" if prompted and before != after else str(after),
        "kind": kind,
        "ink": round(10 + 70 * after / int((rows_of(pairs) == row).sum())),
    }


def cost(pairs: SamplePairs) -> str:
    """How many seeds to keep changed their class, with the 95 % Wilson interval, and the most frequent changes."""
    before, after = (seen[pairs.kept].tolist() for seen in pairs.seen)
    if not before:
        return "No seed had to keep its class."
    changes = Counter((pairs.classes[one], pairs.classes[two]) for one, two in zip(before, after, strict=True) if one != two)
    low, high = wilson(changes.total(), len(before))
    share = changes.total() / len(before)
    words = f"{changes.total()} of {len(before)} kept seeds changed their {pairs.axis}: {share:.1%} [{low:.1%} – {high:.1%}]."
    if changes:
        flows = (f"{one} → {two} ({count})".replace(" ", NO_BREAK) for (one, two), count in changes.most_common(MOST_CHANGES))
        words += f" Most often: {', '.join(flows)}."
    return words


def pairs_html(pairs: SamplePairs, row: int, column: int) -> str:
    """The images before and after of the seeds in a cell; "" if there are no seeds."""
    before, after = in_cell(pairs, row, column)
    seeds = torch.nonzero(after if pairs.prompted is None else before | after).flatten().tolist()
    if not seeds:
        return ""
    shown = [
        {
            "png": png(
                sheet(torch.stack([side[seed] for side in pairs.images]), torch.stack([side[seed] for side in pairs.shows]))
            ),
            "words": " → ".join(pairs.classes[int(side[seed])] for side in pairs.seen),
        }
        for seed in seeds[:MOST_PAIRS]
    ]
    title = f"{row_titles(pairs)[row]} → {pairs.classes[column]}"
    return render("who_pays_pairs", title=title, count=len(seeds), pairs=shown)


def shortened(title: str) -> str:
    """A class name, cut if it is too long for the head of a column."""
    return title if len(title) <= LONGEST_TITLE else f"{title[:LONGEST_TITLE]}…"


PANEL = WhoPays

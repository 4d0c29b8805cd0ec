"""An experiment: how many real pictures does a method need to forget a class?"""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from vdu import charts
from vdu.comparison import ratio
from vdu.experiments import possible_counts
from vdu.page import gpu
from vdu.page.errors import shows_errors
from vdu.page.markup import png, render
from vdu.page.panel import Page, Panel
from vdu.page.run import (
    REFUSED,
    ProgressBar,
    events_of,
    on_click,
    open_run,
    own_turn,
    progress_html,
    status_html,
    waiting_html,
)
from vdu.page.turns import Ticket
from vdu.report import Report, report_of
from vdu.run import Run
from vdu.sheet import sheet
from vdu.worker import on_worker
from vdu.workspace import new_folder

COUNTS = (1, 4, 16, 64, 256)  # numbers of real pictures to try
ROW = 8  # images shown per number of pictures
QUESTION = (
    "How many real pictures of a class does a method need before it can forget it? The recipe on the left runs once per "
    "number of pictures, with the same seeds. *vdu-f* also uses the model's own samples of the class; the paper's loss, "
    "*vdu*, has only the pictures. Five runs take five times as long as one; Stop ends them."
)


class Pictures(Panel):
    """A button that runs the recipe with more and more pictures, and a chart of the results."""

    order = 60

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.page, self.outputs = page, []
        with gr.Accordion("How many pictures does it take?", open=False):
            gr.Markdown(QUESTION)
            button = gr.Button("Try 1, 4, 16, 64 and 256 pictures", min_width=120)
            self.counts = gr.HTML(elem_id="counts")
        on_click(page, button, self.compare, [page.status, self.counts], len(COUNTS))

    @shows_errors(REFUSED)
    def compare(self, request: gr.Request, data: dict) -> Iterator[dict[Any, Any]]:
        """Run the recipe once per number of real pictures, until all runs are done or must end."""
        with own_turn(self.page, request) as ticket:
            for place in self.page.turns.wait(ticket):
                yield {self.page.status: waiting_html(place)}
            if not ticket.ended:
                yield from on_worker(self.carry_out)(ticket, data)
            yield {self.page.status: status_html("Stopped." if ticket.ended else "Done.")}

    def carry_out(self, ticket: Ticket, data: dict) -> Iterator[dict[Any, Any]]:
        """What `compare` shows while it computes."""
        page, rows, folder = self.page, [], new_folder()
        try:
            first = open_run(page, data, folder)
            for progress in first.task.read_pictures():
                if page.turns.check(ticket):
                    return
                yield {page.status: progress_html(progress)}
            numbers = counts_for(first)
            for place, number in enumerate(numbers, start=1):
                recipe = dataclasses.replace(first.recipe, forget_images=number, forget_source="real")
                run = gpu.open_run(recipe, first.start)
                bar = ProgressBar(f"{number} pictures ({place} of {len(numbers)})")
                for event in events_of(page, ticket, run):
                    if line := bar.update(event):
                        yield {page.status: line}
                if run.after is None:
                    return
                rows.append(count_row(number, run, report_of(run)))
                yield {self.counts: counts_html(rows, run.task.concept.display_name)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def counts_for(run: Run) -> list[int]:
    """The numbers of real pictures to try: `COUNTS`, up to the number of pictures that exist.

    Raises:
        UserError: if there are no real pictures, or the method sees none.
    """
    instead = "choose a model that does" if run.model.takes_prompts else "upload pictures of your own first"
    return possible_counts(COUNTS, run.recipe.method, run.task, instead)


def count_row(number: int, run: Run, report: Report) -> dict[str, Any]:
    """The figures of a run with `number` real pictures, and sheets of the same `ROW` seeds before and after."""
    before, after, look = report["before"], report["after"], run.previews[-1]
    return {
        "number": number,
        "forget_rate": after["forget_rate"],
        "forget_rate_ci95": after["forget_rate_ci95"],
        "u_fid_ratio": ratio(after["retain_fid"], before["retain_fid"]),
        "damage": look.damage,
        "sheets": [png(sheet(part.images[:ROW], part.forgotten[:ROW])) for part in (run.previews[0], look)],
    }


def counts_html(rows: Sequence[dict[str, Any]], forget: str) -> str:
    """The chart and the sheets of the runs that are done."""
    fid = all(row["u_fid_ratio"] is not None for row in rows)
    cost, words, scale = ("u_fid_ratio", "u-FID after ÷ before", 1) if fid else ("damage", "kept images changed, %", 100)
    points = [(row["number"], row["forget_rate"], *row["forget_rate_ci95"], scale * row[cost]) for row in rows]
    figure = charts.few_pictures({"": points}, forget, words)
    svg = charts.svg(figure, "Forget rate and cost by the number of real pictures")
    strips = [("before", rows[0]["sheets"][0]), *((f"{row['number']} real", row["sheets"][1]) for row in rows)]
    return render("strips", svg=Markup(svg), strips=strips)


PANEL = Pictures

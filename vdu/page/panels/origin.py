"""Where it comes from: the forget images and own samples nearest to a picture, before and after."""

from typing import Any

import gradio as gr
import torch

from vdu.attribution import Candidates, Origin, origins, why_none
from vdu.errors import UserError
from vdu.page.errors import shows_errors
from vdu.page.markup import png, render
from vdu.page.panel import DRAWS, Page, Panel
from vdu.page.session import Session
from vdu.page.view import RunView
from vdu.sheet import COLUMNS, sheet
from vdu.worker import on_worker

WHAT_IT_IS = (
    "Click a picture to see which forget images and which of the model's own samples are nearest to it, part by part, at "
    "several levels of noise. This compares pixels and proves no cause: the model is not asked, and it learned from many more "
    "pictures than are at hand."
)
# A click reaches the server as the place of the picture; the picture stays marked.
ON_CLICK = """
element.addEventListener("click", event => {
  const picture = event.target.closest("button[data-place]");
  if (!picture) return;
  element.querySelectorAll("button[data-place]").forEach(one => one.setAttribute("aria-pressed", one === picture));
  trigger("click", {place: Number(picture.dataset.place)});
});
"""


class WhereFrom(Panel):
    """The pictures before to click, and for one of them the nearest candidates before and after."""

    order = 46

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        with gr.Accordion("Where it comes from", open=False):
            self.pictures = gr.HTML(pictures_html(page.first_view), elem_id="origins", js_on_load=ON_CLICK)
            self.found = gr.HTML(elem_id="nearest")
        self.outputs = [self.pictures, self.found]
        self.pictures.click(show_origins, page.state, self.found, show_progress="minimal", **DRAWS)

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.pictures: pictures_html(view), self.found: ""}


@shows_errors()
@on_worker
def show_origins(session: Session | None, click: gr.EventData) -> str:
    """Where the picture that the visitor has clicked comes from."""
    if session is None or (run := session.finished_run) is None:
        raise UserError("Press Unlearn first, and let the run end; then click a picture.")
    place = int(click._data["place"])
    if not 0 <= place < len(run.replay.grid):
        raise UserError("There is no such picture; click one of those above.")
    return origins_html(place, *origins(run, place))


def pictures_html(view: RunView) -> str:
    """The pictures before, each a button; or a sentence that says why there is nothing to click."""
    if why := why_nothing(view):
        return render("small", words=why)
    return render("origins", words=WHAT_IT_IS, png=view.sheets[0], count=view.pictures, columns=min(COLUMNS, view.pictures))


def why_nothing(view: RunView) -> str:
    """Why there is nothing to click; "" if there is."""
    if view.example:
        return "The stored example has no samples. Press Unlearn; then click a picture to see what it is nearest to."
    if not view.finished:
        return "Once the run has ended, you can click a picture to see what it is nearest to."
    if view.pairs is None:
        return "The run was stopped before the unlearned model was measured, so there is nothing to compare."
    return why_none(view.report["recipe"]["method"])


def origins_html(place: int, candidates: Candidates, before: Origin, after: Origin) -> str:
    """HTML of a picture's nearest candidates, before and after."""
    share = candidates.of_concept.double().mean().item()
    sides = []
    for when, origin in (("Before", before), ("After", after)):
        near = [{"png": png(sheet(candidates.images[row : row + 1], torch.tensor([False]))), "kind": candidates.kinds[row],
                 "weight": origin.weights[row].item()} for row in origin.nearest]  # fmt: skip
        sides.append(
            {
                "when": when,
                "png": png(sheet(origin.image.unsqueeze(0), torch.tensor([origin.framed]))),
                "near": near,
                "forget": origin.weights[candidates.of_concept].sum().item(),
            }
        )
    return render(
        "origin", number=place + 1, sides=sides, even=1 / len(candidates.kinds), count=len(candidates.kinds), share=share
    )


PANEL = WhereFrom

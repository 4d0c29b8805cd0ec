"""What a panel is, and the page around it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import gradio as gr

from vdu.page.controls import Controls
from vdu.page.session import Session, StopFlags
from vdu.page.settings import Settings
from vdu.page.view import RunView, example_of
from vdu.recipe import Recipe, resolve
from vdu.registry import collect
from vdu.task import kind_of

DEVICE = {"concurrency_limit": 1, "concurrency_id": "device"}  # for listeners that compute: one at a time


class Panel(ABC):
    """One part of the right column. A module of `vdu.page.panels` names its class PANEL, and is found by itself.

    Attributes:
        order: panels stand in this order.
        half: whether the next panel may stand beside it; two neighbours that are half share a row.
        outputs: the components that `render` gives values to; set in `build`.
    """

    order: ClassVar[int]
    half: ClassVar[bool] = False
    outputs: list[Any]

    @abstractmethod
    def build(self, page: "Page") -> None:
        """Create the components, showing `page.first_view`, and wire them to the panel's own handlers."""

    def render(self, view: RunView) -> dict[Any, Any]:
        """Component -> value or `gr.update`, for every component that shows something else for this run."""
        return {}


@dataclass
class Page:
    """What the handlers of one page share.

    Attributes:
        state: the visitor's `Session`, None before their first run.
        status: the line that says how far a run is.
    """

    settings: Settings
    controls: Controls
    state: gr.State
    status: gr.HTML
    stops: StopFlags = field(default_factory=StopFlags)
    panels: list[Panel] = field(default_factory=list)

    @property
    def first_view(self) -> RunView:
        """What a visitor sees first."""
        return example_of(self.controls.default.model)

    @property
    def outputs(self) -> list[Any]:
        """All that a run may change."""
        return [
            self.state,
            self.status,
            self.controls.fields["go_on"],
            *(component for panel in self.panels for component in panel.outputs),
        ]

    @property
    def inputs(self) -> set[Any]:
        """All that a run depends on."""
        return {self.state, *self.controls.fields.values()}

    def render(self, view: RunView) -> dict[Any, Any]:
        """A run in all panels."""
        return {component: value for panel in self.panels for component, value in panel.render(view).items()}

    def view_of(self, session: Session | None, model: str) -> RunView:
        """A visitor's last run, or before there is something to show of one, the example of a model."""
        return session.view if session and session.view.sheets else example_of(model)


def make_panels() -> list[Panel]:
    """A new panel of each kind, in the order in which they stand."""
    return sorted((panel() for _, panel in collect("vdu.page.panels", "PANEL")), key=lambda panel: panel.order)


@lru_cache(maxsize=1)
def default_recipe() -> Recipe:
    """What the inputs hold at first: the recipe of the first example, with the defaults of its model."""
    view = example_of("")
    model = view.report["model"]
    return resolve(Recipe(model=model, forget=view.report["forget"]), kind_of(model))

"""`Panel`, the base class of the parts of the right column, and `Page`, what they share."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import gradio as gr

from vdu.estimate import Pace
from vdu.page.controls import Controls
from vdu.page.presence import Presence
from vdu.page.session import Session, Sessions
from vdu.page.settings import Settings
from vdu.page.turns import Ticket, Turns
from vdu.page.view import RunView, example_of
from vdu.recipe import Recipe, resolve
from vdu.registry import collect
from vdu.task import kind_of

# For listeners that wait for their turn (`Turns`), listeners that draw a few images between the events of a run, and
# listeners that cost nothing, which no queue can refuse or let wait.
IN_TURN = {"concurrency_limit": None, "api_visibility": "private"}
DRAWS = {"concurrency_limit": 1, "concurrency_id": "drawing", "api_visibility": "private"}
AT_ONCE = {"queue": False, "api_visibility": "private"}


class Panel(ABC):
    """One part of the right column. A module in `vdu/page/panels/` assigns its class to PANEL; no list has to name it.

    Attributes:
        order: panels are sorted by this number, top to bottom.
        half: whether the panel takes half of the width; two neighbours of half width share a row.
        outputs: the components that `render` and `offer` may update; set in `build`.
    """

    order: ClassVar[int]
    half: ClassVar[bool] = False
    outputs: list[Any]

    @abstractmethod
    def build(self, page: "Page") -> None:
        """Create the components, filled from `page.first_view`, and wire them to the handlers of the panel."""

    def render(self, view: RunView) -> dict[Any, Any]:
        """Component -> value or `gr.update`, for every component that depends on the run."""
        return {}

    def offer(self, model: str) -> dict[Any, Any]:
        """Component -> value or `gr.update`, for every component whose choices depend on the model that is picked."""
        return {}


@dataclass
class Page:
    """One page, as its handlers share it.

    Attributes:
        state: the `Session` of a visitor; None before their first run.
        status: the line that shows the progress of a run.
        presence, sessions, turns, pace: who is here, their last runs, whose run is next, and how long runs take.
    """

    settings: Settings
    controls: Controls
    state: gr.State
    status: gr.HTML
    panels: list[Panel] = field(default_factory=list)
    presence: Presence = field(default_factory=Presence)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.examples: dict[str, dict[Any, Any]] = {}
        self.drawing = threading.Lock()
        self.turns = Turns(self.settings, self.presence.is_here)
        self.sessions = Sessions(self.settings, self.presence.is_here)

    def ask(self, request: gr.Request, recipes: Sequence[Recipe]) -> Ticket:
        """A place in the order of runs for a visitor, for the runs of some recipes one after another.

        Raises:
            UserError: see `Turns.ask`.
        """
        self.presence.note(request.session_hash)
        seconds = [self.pace.seconds(recipe) for recipe in recipes]
        address = request.client.host if request.client else ""
        return self.turns.ask(request.session_hash, address, None if None in seconds else sum(seconds), len(seconds))

    @property
    def first_view(self) -> RunView:
        """What a new visitor sees: the example of the default model."""
        return example_of(self.controls.default.model)

    @property
    def outputs(self) -> list[Any]:
        """All components that a run may change."""
        return [
            self.state,
            self.status,
            self.controls.fields["go_on"],
            *(component for panel in self.panels for component in panel.outputs),
        ]

    @property
    def inputs(self) -> set[Any]:
        """All components that a run reads."""
        return {self.state, *self.controls.fields.values()}

    def render(self, view: RunView) -> dict[Any, Any]:
        """Component -> value, in all panels, for a run."""
        return {component: value for panel in self.panels for component, value in panel.render(view).items()}

    def render_last(self, session: Session | None, model: str) -> dict[Any, Any]:
        """Component -> value, in all panels, for what `view_of` gives; the examples are made once, for all visitors."""
        view = self.view_of(session, model)
        if not view.example:
            return self.render(view)
        with self.drawing:  # of thirty visitors who come at once, one draws
            if model not in self.examples:
                self.examples[model] = self.render(view)
        return copies(self.examples[model])

    def view_of(self, session: Session | None, model: str) -> RunView:
        """The last run of a visitor; the example of a model if no run has anything to show yet."""
        return session.view if session and session.view.sheets else example_of(model)


def copies(changes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Component -> value or `gr.update`, to keep for later, for Gradio empties the updates that it is given."""
    return {component: dict(value) if isinstance(value, dict) else value for component, value in changes.items()}


def make_panels() -> list[Panel]:
    """A new panel of each kind, sorted by `order`.

    Raises:
        ValueError: if two have the same.
    """
    panels: dict[int, Panel] = {}
    for name, kind in collect("vdu.page.panels", "PANEL"):
        if kind.order in panels:
            other = type(panels[kind.order]).__name__
            raise ValueError(f"vdu/page/panels/{name}.py: order {kind.order} is taken by {other}; choose another")
        panels[kind.order] = kind()
    return [panels[order] for order in sorted(panels)]


@lru_cache(maxsize=1)
def default_recipe() -> Recipe:
    """Initial values of the inputs: model and class of the first example, and the defaults of that model."""
    view = example_of("")
    model = view.report["model"]
    return resolve(Recipe(model=model, forget=view.report["forget"]), kind_of(model))

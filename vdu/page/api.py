"""The page's HTTP API."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from vdu.errors import UserError, quoted
from vdu.events import Progress
from vdu.page import gpu
from vdu.page.errors import shows_errors
from vdu.page.panel import Page
from vdu.page.run import events_of, own_turn
from vdu.page.turns import Ticket
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.worker import on_worker


def make_api(page: Page) -> Callable[..., Iterator[dict]]:
    """The endpoint `unlearn`; it refuses what the page's settings do not allow."""

    @shows_errors()
    def api_unlearn(
        request: gr.Request, model: str = "mnist-ddpm", forget: str = "3", recipe: dict | None = None
    ) -> Iterator[dict]:
        """Make a model forget a class and return the report.

        Args:
            model: a model that the page offers.
            forget: what to forget: a class or, for a model from the hub that takes prompts, a prompt.
            recipe: other fields of the recipe by name, such as {"gamma": 0.9, "samples": 1000}.

        Returns:
            the progress of the run as {"phase", "done", "total", "seconds_left"}, at first of the phase "waiting"; at the end
            the report, as in report.json.
        """
        choices, settings = chosen_fields(model, forget, recipe), page.settings
        settings.check_allowed(model, "")  # before `Recipe`, which could ask the hub about any name
        chosen = Recipe.from_dict(choices)
        settings.check_allowed(chosen.model, chosen.judge, chosen.pictures, chosen.device)
        page.ask(request, [chosen])
        with own_turn(page, request) as ticket:
            for place in page.turns.wait(ticket):
                yield dataclasses.asdict(place)
            if ticket.ended:
                raise UserError("The run was stopped before it began; ask for it again.")
            yield from on_worker(compute_report)(page, ticket, chosen)

    return api_unlearn


def compute_report(page: Page, ticket: Ticket, recipe: Recipe) -> Iterator[dict]:
    """The progress of a run, then its report."""
    run = gpu.open_run(recipe)
    for event in events_of(page, ticket, run):
        if isinstance(event, Progress):
            yield dataclasses.asdict(event)
    yield report_of(run)


def chosen_fields(model: str, forget: str, recipe: Any) -> dict[str, Any]:
    """All fields of the recipe by name.

    Raises:
        UserError: if the recipe is no object, or names another model or another thing to forget than the arguments.
    """
    recipe = {} if recipe is None else recipe
    if not isinstance(recipe, dict):
        raise UserError(f'The recipe must be an object of fields by name, such as {{"samples": 500}}, not {quoted(recipe)}.')
    chosen = {"model": model, "forget": forget}
    for name in chosen:
        if (given := recipe.get(name, chosen[name])) != chosen[name]:
            both = f"The recipe says {name} {quoted(given)}, the call says {quoted(chosen[name])}"
            raise UserError(f"{both}; give it as an argument only.")
    return recipe | chosen

"""Compared with what? Several methods on the recipe of the inputs, one after another."""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import gradio as gr

from vdu.comparison import changed_fields, fitting, recipe_for
from vdu.errors import UserError
from vdu.estimate import evaluations
from vdu.events import PHASES, Progress
from vdu.page import gpu
from vdu.page.comparison import Comparison, Finished, compared_html, contents, own_recipe, shuffled
from vdu.page.controls import recipe_of
from vdu.page.errors import shows_errors
from vdu.page.markup import render
from vdu.page.panel import AT_ONCE, Page, Panel
from vdu.page.run import (
    ANSWERED,
    REFUSED,
    ProgressBar,
    events_of,
    on_click,
    own_turn,
    recipe_and_start,
    status_html,
    stop_runs,
    waiting_html,
)
from vdu.page.session import start_folder
from vdu.page.turns import Ticket, minutes
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of
from vdu.worker import on_worker
from vdu.workspace import new_folder

FASTEST = 2  # methods ticked beside the first
TIMED = ("samples", "steps", "sampler_steps", "replay")  # fields whose change is a change of the time
WORDS = (
    "Runs every method that you tick, from the same seeds. The settings that you have changed on the left hold for all of "
    "them; every other setting has the method's own default. A run that you have already finished is not repeated."
)
TOO_FEW = "Tick at least two methods: a comparison needs something to compare with."
# A click on a head sorts the table in the browser; a click on a row of pictures reaches the server as its letter.
ON_CLICK = """
element.addEventListener("click", event => {
  const head = event.target.closest("button[data-column]"), row = event.target.closest("button[data-pick]");
  if (row) trigger("click", {pick: row.dataset.pick});
  if (!head) return;
  const heading = head.closest("th"), body = element.querySelector("tbody.methods");
  const up = heading.getAttribute("aria-sort") !== "ascending", column = Number(head.dataset.column);
  const sorted = [...body.rows].sort((one, other) => {
    const [a, b] = [one, other].map(row => row.cells[column].dataset.sort);
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = column ? a - b : a.localeCompare(b);
    return up ? order : -order;
  });
  body.append(...sorted);
  element.querySelectorAll("th[aria-sort]").forEach(one => one.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
});
"""


class Compare(Panel):
    """Methods to tick, a button that runs them, and their pictures, figures and costs side by side."""

    order = 52

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.page, default = page, page.controls.default
        kind = kind_of(default.model)
        gr.HTML(render("heading", title="Compare methods", small=WORDS))
        self.kept = gr.State(None)
        self.methods = gr.CheckboxGroup(fitting(kind), value=usual(kind), label="Methods", elem_id="compared-methods")
        self.time = gr.HTML(self.usual_time(default, kind), elem_id="compared-time")
        self.outputs = [self.methods, self.time]
        with gr.Row():
            info = "Choose the best pictures first; then see which method drew them."
            self.blind = gr.Checkbox(False, label="Hide names", info=info, min_width=180)
            self.button = gr.Button("Compare", min_width=120, elem_id="compare")
            self.stop = gr.Button("Stop", variant="stop", visible=False, min_width=80, elem_id="compare-stop")
            self.reveal = gr.Button("Reveal", visible=False, min_width=120, elem_id="reveal")
        self.line = gr.HTML(elem_id="compared-line")
        self.found = gr.HTML(elem_id="compared", js_on_load=ON_CLICK)
        changed = [self.kept, self.found, self.reveal, self.stop]
        also = [self.methods, self.blind, self.kept]
        on_click(page, self.button, self.start, [page.status, self.line, *changed], what=self.recipes_of, also=also)
        self.stop.click(self.end, None, page.status, show_progress="hidden", **AT_ONCE)
        self.reveal.click(self.show_names, self.kept, changed, show_progress="hidden", **AT_ONCE)
        self.found.click(self.pick, self.kept, changed, show_progress="hidden", **AT_ONCE)
        gr.on(
            [self.methods.input, *(page.controls.fields[name].input for name in TIMED)],  # `offer` tells it for another model
            self.tell_time,
            page.inputs | {*also},
            self.time,
            show_progress="hidden",
            trigger_mode="always_last",
            **AT_ONCE,
        )

    def offer(self, model: str) -> dict[Any, Any]:
        """The methods that fit a model, and how long the usual ones take; see `Panel.offer`."""
        kind = kind_of(model)
        time = self.usual_time(resolve(Recipe(model=model), kind), kind)
        return {self.methods: gr.update(choices=fitting(kind), value=usual(kind)), self.time: time}

    def usual_time(self, recipe: Recipe, kind: str) -> str:
        """How long the usual methods take with a recipe, before anything is run."""
        recipes = {method: recipe_for(changed_fields(recipe, kind), method, kind) for method in usual(kind)}
        return time_html(self.seconds(recipes), {})

    def tell_time(self, data: dict) -> str:
        """How long the methods that are ticked will take, or why they cannot be run."""
        try:
            comparison, recipes = self.asked(data)
        except UserError as error:
            return render("small", words=str(error))
        return time_html(self.seconds({name: recipes[name] for name in comparison.missing}), comparison.rows)

    def seconds(self, recipes: Mapping[str, Recipe]) -> dict[str, float | None]:
        """Method -> how long its run takes; None where that is not known."""
        return {method: self.page.pace.seconds(recipe) for method, recipe in recipes.items()}

    def recipes_of(self, data: dict) -> list[Recipe]:
        """The recipes that are still to be run.

        Raises:
            UserError: see `asked`.
        """
        comparison, recipes = self.asked(data)
        return [recipes[method] for method in comparison.missing]

    def asked(self, data: Mapping[Any, Any]) -> tuple[Comparison, dict[str, Recipe]]:
        """The comparison that a visitor asks for, with the rows that are there, and method -> recipe, without uploads.

        Raises:
            UserError: for fewer than two methods, or if a method cannot be run with the inputs.
        """
        page, ticked, last, session = self.page, data[self.methods] or [], data[self.kept], data[self.page.state]
        values = page.controls.values(data)
        if len(ticked) < 2:
            raise UserError(TOO_FEW)
        recipe = recipe_of(values, page.settings)
        start_folder(session, values["model"], values["go_on"])
        changed, kind = changed_of(recipe)
        recipes = {method: recipe_for(changed, method, kind) for method in ticked}
        uploads = tuple(contents(values[name] or ()) for name in ("pictures", "others"))
        start = session.public.name if values["go_on"] else ""
        key = (tuple(sorted(changed.items())), uploads, start)
        blind = bool(data[self.blind])
        methods = shuffled(ticked, recipe.seed) if blind else tuple(sorted(ticked, key=fitting(kind).index))
        comparison = Comparison(key, methods, last.rows if last and last.key == key else {}, blind)
        run = None if start or session is None else session.finished_run
        own = run and own_recipe(run, session.folder)
        if own and own[0].method in comparison.missing and own == (recipes[own[0].method], uploads):
            comparison = comparison.with_row(own[0].method, Finished.of(run))
        return comparison, recipes

    @shows_errors(REFUSED)
    def start(self, request: gr.Request, data: dict) -> Iterator[dict[Any, Any]]:
        """Run the methods that are missing once it is the visitor's turn, and show each as it ends, until all are done."""
        with own_turn(self.page, request) as ticket:
            comparison, recipes = self.asked(data)
            if comparison.missing:
                for place in self.page.turns.wait(ticket):
                    yield dict.fromkeys([self.page.status, self.line], waiting_html(place))
            if comparison.missing and not ticket.ended:
                comparison = replace(comparison, under_way=True)
                yield self.shown(comparison)
                try:
                    for changes in on_worker(self.carry_out)(ticket, data, comparison, recipes):
                        comparison = changes.get(self.kept, comparison)
                        yield changes
                except Exception:
                    yield self.told("Ready.") | self.shown(replace(comparison, under_way=False))
                    raise
                finally:
                    model, names = next(iter(recipes.values())).model, ",".join(recipes)
                    ticket.label = f"compare model={model} methods={names}"
        if ticket.ended:
            time.sleep(ANSWERED)
        yield self.told(ending(comparison)) | self.shown(replace(comparison, under_way=False))

    def carry_out(
        self, ticket: Ticket, data: dict, comparison: Comparison, recipes: Mapping[str, Recipe]
    ) -> Iterator[dict[Any, Any]]:
        """What `start` shows while it computes."""
        page, folder, missing = self.page, new_folder(), comparison.missing
        try:
            recipe, start = recipe_and_start(page, data, folder)  # with the uploads
            changed, kind = changed_of(recipe)
            for number, method in enumerate(missing):
                bar = Bar(comparison, method, self.seconds({name: recipes[name] for name in missing[number:]}))
                yield self.told(f"{bar.title}: loading the model …")
                run = gpu.open_run(recipe_for(changed, method, kind), start)
                for event in events_of(page, ticket, run):
                    if line := bar.update(event):
                        yield dict.fromkeys([page.status, self.line], line)
                if run.after is None:
                    return
                comparison = comparison.with_row(method, Finished.of(run))
                yield self.shown(comparison)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def told(self, words: str) -> dict[Any, Any]:
        """Words in the status line of the page, and in that of this panel."""
        return dict.fromkeys([self.page.status, self.line], status_html(words))

    def shown(self, comparison: Comparison | None) -> dict[Any, Any]:
        """What the page keeps and shows of a comparison."""
        hides = bool(comparison and comparison.hides and comparison.shown)
        html = compared_html(comparison) if comparison else ""
        runs = bool(comparison and comparison.under_way)
        shown = {self.kept: comparison, self.found: html, self.reveal: gr.update(visible=hides)}
        return shown | {self.stop: gr.update(visible=runs)}

    def end(self, request: gr.Request) -> str:
        """Stop, as the button beside the recipe does, which is far away on a phone."""
        return stop_runs(self.page, request)

    def show_names(self, kept: Comparison | None) -> dict[Any, Any]:
        """Reveal the names."""
        return self.shown(kept and replace(kept, revealed=True))

    def pick(self, kept: Comparison | None, click: gr.EventData) -> dict[Any, Any]:
        """Reveal the names once the visitor has clicked the pictures that they find best."""
        return self.shown(kept and kept.pick(str(click._data.get("pick"))))


class Bar(ProgressBar):
    """The progress of one method among those that are still to be run.

    Args:
        comparison: the comparison so far; method: the one that runs.
        expected: method -> how long it takes, in seconds, from this method on; None where that is not known.
    """

    def __init__(self, comparison: Comparison, method: str, expected: Mapping[str, float | None]) -> None:
        done, total = len(comparison.methods) - len(comparison.missing), len(comparison.methods)
        super().__init__(f"Method {done + 1} of {total}" + ("" if comparison.hides else f", {method}"))
        self.hides, self.done, self.total, self.started = comparison.hides, done, total, time.monotonic()
        known = [row.report["seconds"]["total"] for row in comparison.rows.values()]
        usual = fmean(known) if known else None
        self.mine, *self.later = (usual if seconds is None else seconds for seconds in expected.values())

    def html(self, event: Progress) -> str:
        """See `ProgressBar.html`. While names are hidden, phases are hidden too: some belong to one method alone."""
        passed = time.monotonic() - self.started
        mine = event.seconds_left if self.mine is None else max(self.mine - passed, event.seconds_left or 0.0)
        whole = None if mine is None or None in self.later else mine + sum(self.later)
        share = 0.0 if mine is None else passed / max(passed + mine, 1.0)
        parts = [] if self.hides else [f"{PHASES[event.phase]}, {event.done} of {event.total}"]
        parts += [] if mine is None or self.hides else [f"about {seconds_words(mine)} left of this method"]
        parts += [] if whole is None else [f"about {seconds_words(whole)} left in all"]
        words = f"{self.title}{': ' * bool(parts)}{' · '.join(parts)}"
        return render("status", percent=100 * (self.done + share) / self.total, phase=self.title, words=words)


def usual(kind: str) -> list[str]:
    """The methods that are ticked at first: the first that fits a kind of model, and the fastest of the others."""
    first, *others = fitting(kind)
    return [first, *sorted(others, key=lambda method: evaluations(recipe_for({}, method, kind)))[:FASTEST]]


def changed_of(recipe: Recipe) -> tuple[dict[str, Any], str]:
    """The fields of a recipe that are the same for all methods, and the kind of its model."""
    kind = kind_of(recipe.model)
    method = resolve(recipe, kind).method  # also refuses what does not fit the model
    return changed_fields(replace(recipe, method=method), kind), kind  # a default that `resolve` fills in is no change


def seconds_words(seconds: float) -> str:
    """A time in words: seconds below two minutes."""
    return f"{seconds:.0f}\u00a0s" if seconds < 120 else minutes(seconds)


def time_html(expected: Mapping[str, float | None], there: Iterable[str]) -> str:
    """How long each method takes, and all of them, as far as that is known; and which methods have finished already."""
    known = {method: seconds for method, seconds in expected.items() if seconds is not None}
    each = [f"{method} {seconds_words(seconds)}" for method, seconds in known.items()]
    words = f"About {seconds_words(sum(known.values()))} in all: {', '.join(each)}." if known else ""
    done = f" Finished already: {', '.join(there)}." if there else ""
    return render("small", words=words + done)


def ending(comparison: Comparison) -> str:
    """The last words of the status line."""
    missing, total = comparison.missing, len(comparison.methods)
    if not missing:
        return "Done."
    left = "the rest" if comparison.hides else ", ".join(missing)
    return f"Stopped after {total - len(missing)} of {total} methods. Compare goes on with {left}."


PANEL = Compare

"""VDU Studio: one page on which a pretrained diffusion model forgets. Layout and wiring only; the engine is vdu/.

python app.py [--any-model] [--host ADDRESS] [--port NUMBER]
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from vdu import hub, page
from vdu.catalog import CATALOG, entry_of, kind_of, shape_of
from vdu.data import MOST_PICTURES, read_each
from vdu.entries import PICTURES
from vdu.errors import UserError
from vdu.events import Measured, Preview, Progress
from vdu.export import preview_sheet, write_run, zip_model
from vdu.judges import CLIP, NUDENET
from vdu.models import FULL_SIZE, SMALL, pick_device
from vdu.recipe import BY_METHOD, CHOICES, DEPENDENT, Recipe
from vdu.report import report_of
from vdu.sampling import drain
from vdu.unlearn import Run, further, tried, unlearn
from vdu.worker import on_worker

EXAMPLES = {name: page.saved_view(entry.folder / "example") for name, entry in CATALOG.items()
            if (entry.folder / "example").is_dir()}  # fmt: skip
EXAMPLE = next(iter(EXAMPLES.values()))
DEFAULT = Recipe(model=EXAMPLE.report["model"], forget=EXAMPLE.report["forget"])
# On the left; everything else is folded away. "typed" stands for what is to be forgotten in place of the choice above it.
PLAIN = ("model", "forget", "typed", "keep", "pictures", "others", "judge", "forget_images", "max_damage", "go_on")
FOLDED = ("method", "gamma", "reach", "steps", "step_size", "optimizer", "posterior", "t_min", "t_max", "weighting",
          "batch_size", "forget_source", "replay", "preview_every", "target", "patience", "samples", "sampler_steps",
          "sampler", "guidance", "parameters", "seed")  # fmt: skip
COMMAND = argparse.ArgumentParser(prog="python app.py", description="The page of VDU Studio.")
COMMAND.add_argument("--any-model", action="store_true", help="for trusted use: let visitors name any model of hub or machine")
COMMAND.add_argument("--host", help="address to listen on; 0.0.0.0 for other machines too; this machine alone by default")
COMMAND.add_argument("--port", type=int, help="7860 by default, or the next free one")
OPTIONS = COMMAND.parse_args(sys.argv[1:] if __name__ == "__main__" else [])
ANY_MODEL = OPTIONS.any_model
MODELS = [(CATALOG[name].title, name) for name in EXAMPLES] + [(title, name) for name, title in hub.LISTED.items()]
JUDGES = [("CLIP, for anything", ""), *([("NudeNet, for nudity", NUDENET)] if find_spec("nudenet") else [])]
FITTED = [("Whichever fits", ""), ("One fitted on your pictures", PICTURES)]
# On a Space with hf_oauth, visitors can log in; elsewhere Gradio's login button would keep the page from starting.
LOGIN = bool(gr.utils.get_space() and os.environ.get("OAUTH_CLIENT_ID")) and find_spec("authlib") is not None
THUMBNAIL = (3, 96, 96)
START = "start"  # in a session's folder: the model that its run goes on from
WORDED = (SMALL, FULL_SIZE)  # kinds of models that take words
COUNTS = (1, 4, 16, 64, 256)  # of real pictures, in the experiment
REFRESH = 0.5  # seconds between two updates of the progress bar: a browser on the same machine has to draw each
KINDS = {entry.name: entry.type for entry in dataclasses.fields(Recipe)}
THEME = gr.themes.Soft(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
CSS = (Path(__file__).parent / "assets" / "page.css").read_text() + page.choice_css([CATALOG[name] for name in EXAMPLES])
EXPLANATION, NUMBERS = (Path(__file__).parent / "assets" / "explanation.md").read_text().split("<!-- timesteps -->")
LATEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


@dataclass
class Session:
    """One visitor's latest run. It is theirs alone and goes, with its folder, when their session does."""

    run: Run
    view: page.View
    folder: Path
    files: list[str] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> Path | None:
        """The model that the run left; where it changed nothing, the one it went on from, and None for one as it came."""
        return next((path for path in (self.folder / "run" / "unlearned", self.folder / START) if path.is_dir()), None)

    def downloads(self) -> list[str]:
        """Write report, sheet and model; paths in the order of the download buttons."""
        report = write_run(self.run, self.folder / "run")
        self.view = page.live_view(self.run, self.view.sheets, report)
        model = zip_model(self.folder, report)
        self.files = [str(self.folder / "run" / "report.json"), str(page.write_comparison(self.folder, self.view)), str(model)]
        return self.files


def forget_session(session: Session | None) -> None:
    """Delete what a visitor's run left on disk."""
    if session:
        shutil.rmtree(session.folder, ignore_errors=True)


def permitted(model: str, judge: str, pictures: str = "", device: str = "auto") -> None:
    """Refuse what a visitor may not ask of this machine: models, judges and folders beyond those offered.

    Raises:
        UserError: for those, and for full-size models where they would take hours.
    """
    if ANY_MODEL:
        return
    offered = [*CATALOG, *hub.LISTED]
    if model not in offered:
        raise UserError(f"There is no model '{model}'; choose one of {', '.join(offered)}.")
    if judge not in ("", CLIP, NUDENET) or pictures:
        raise UserError("Judges and folders of this machine's own can be named only on the command line.")
    if kind_of(model) == FULL_SIZE and pick_device(device) == "cpu":
        raise UserError(f"'{model}' needs a GPU, and there is none here; the models in the box are {', '.join(CATALOG)}.")


def recipe_of(*values: Any, folder: Path | None = None) -> Recipe:
    """The recipe that the page's inputs describe; a visitor's pictures are copied into a folder, if one is given."""
    choices = dict(zip((*PLAIN, *FOLDED), values, strict=True))
    choices |= {name: choices[name] or "" for name in ("typed", "keep", "judge")}  # None in what has not been opened yet
    typed, uploaded, others, _ = (choices.pop(name) for name in ("typed", "pictures", "others", "go_on"))
    for files in (uploaded, others):
        if len(files or ()) > MOST_PICTURES:
            raise UserError(f"These are {len(files)} pictures; give at most {MOST_PICTURES}.")
    pictures = keep_pictures(uploaded, folder / "pictures") if folder else ""
    if entry := entry_of(choices["model"]):
        choices |= {"forget": typed.strip() or choices["forget"], "judge": ""}
        if not entry.takes_words:
            choices |= {"keep": "", "pictures": pictures}
        entry.plan(choices["forget"], 1)
    else:
        choices |= {"forget": typed, "pictures": pictures}
        if others and kind_of(choices["model"]) in WORDED:
            raise UserError("This model takes words; write prompts to keep, and take the pictures of other things out.")
        if others and folder:
            choices["keep"] = keep_pictures(others, folder / "others")
        if not typed.strip():
            raise UserError("Write what the model shall forget, in the words that one would ask it for it.")
    permitted(choices["model"], choices["judge"])
    return Recipe.from_dict(choices)


def keep_pictures(uploaded: list[str] | None, target: Path) -> str:
    """Copy what a visitor uploaded and can be read into a new folder of their session; "" if they uploaded nothing.

    Raises:
        UserError: if none of it can be read.
    """
    if not uploaded:
        return ""
    target.mkdir()
    readable, _ = read_each(map(Path, uploaded), THUMBNAIL)
    used = [path for path in map(Path, uploaded) if path in readable or any(path in inside.parents for inside in readable)]
    for number, path in enumerate(used):
        shutil.copy(path, target / f"{number:03d}{path.suffix}")
    if not readable:
        raise UserError("None of these files is a picture that can be read; upload PNG or JPEG.")
    return str(target)


def show_pictures(uploaded: list[str] | None, model: str) -> Any:
    """What the model will see of uploaded pictures; those that cannot be read are named."""
    try:
        readable, left_out = read_each(map(Path, uploaded or []), shape_of(model) or THUMBNAIL)
    except UserError as error:
        raise gr.Error(str(error), title="These cannot be used", print_exception=False) from error
    return gr.update(value=page.pictures_html(list(readable.values()), left_out), visible=bool(readable or left_out))


def start_of(session: Session | None, values: tuple[Any, ...]) -> Path | None:
    """The folder of the model that a visitor's run goes on from, if they want that.

    Raises:
        UserError: if there is none of the model that they have picked.
    """
    if not values[PLAIN.index("go_on")]:
        return None
    if session is None or session.left is None or session.run.recipe.model != values[PLAIN.index("model")]:
        raise UserError("There is no earlier run of this model to go on from; clear “Go on from the last run”.")
    return session.left


def lay_start(source: Path | None, folder: Path) -> str:
    """Put the model to go on from into a session's folder, since that of the session before it goes; "" for none."""
    if source is None:
        return ""
    shutil.copytree(source, folder / START, copy_function=os.link)
    return str(folder / START)


STOPS: dict[str, threading.Event] = {}  # by visitor: set when theirs, waiting or under way, shall end


def check(request: gr.Request, last_session: Session | None, *values: Any) -> list[dict[str, Any]]:
    """Refuse bad input before it is queued."""
    try:
        recipe_of(*values)
        start_of(last_session, values)
        running = STOPS.get(request.session_hash)
        if running and not running.is_set():
            raise UserError("A run of yours is waiting or under way; press Stop first.")
    except UserError as error:
        raise gr.Error(str(error), title="This cannot be run", print_exception=False) from error
    STOPS[request.session_hash] = threading.Event()
    return [gr.validate(True, "")] * (1 + len(values))


@on_worker
def start(request: gr.Request, last_session: Session | None, *values: Any) -> Iterator[dict[Any, Any]]:
    """Run a recipe and show what it says, until it ends or its visitor asks to stop."""
    stop_asked, folder, held = STOPS.setdefault(request.session_hash, threading.Event()), None, False
    try:
        if stop_asked.is_set():
            yield {status: page.status_html(None, "Stopped before it began.")}
            return
        yield {status: page.status_html(None, "Loading the model …")}
        folder = Path(tempfile.mkdtemp(prefix="vdu-run-"))
        run = Run(recipe_of(*values, folder=folder), lay_start(start_of(last_session, values), folder))
        session, progress, shown = Session(run, page.live_view(run, {}), folder), None, 0.0
        yield {
            status: page.status_html(None, "Starting …"),
            snapshot: gr.update(maximum=1, value=0),
            distance: gr.update(value=1, interactive=False),
            shares: page.shares_html(None),
            table: "",
            **{button: gr.update(value=None, interactive=False) for button in buttons},
        }
        with closing(unlearn(run)) as events:
            for event in events:
                if stop_asked.is_set():
                    break
                if run.steps and not held:  # from here on there is something to show for it, and the last run goes
                    held = True
                    forget_session(last_session)
                    yield {state: session}
                if isinstance(event, Progress):
                    progress = event
                    if time.monotonic() - shown > REFRESH:
                        shown = time.monotonic()
                        yield {status: page.status_html(event)}
                elif isinstance(event, Measured) and event.side == "before":
                    yield {shares: page.shares_html(report_of(run))}
                elif isinstance(event, Preview):
                    session.view = page.live_view(run, session.view.sheets)
                    yield {
                        **sheets(session.view, run.entry.shown(run.recipe.forget)),
                        headline: page.working_html(run),
                        status: page.status_html(progress),
                    }
        if held:
            yield finished(session, "Stopped." if stop_asked.is_set() else "Done.")
        else:
            yield {**restored(last_session), status: page.status_html(None, "Stopped before the model was changed.")}
    except UserError as error:
        yield restored(last_session)
        raise gr.Error(str(error), title="This cannot be run", print_exception=False) from error
    finally:
        if folder and not held:
            shutil.rmtree(folder, ignore_errors=True)
        release(request, stop_asked)


@on_worker
def compare_counts(request: gr.Request, session: Session | None, *values: Any) -> Iterator[dict[Any, Any]]:
    """Run a recipe with ever more real pictures, and show what each number of them was worth."""
    stop_asked, rows = STOPS.setdefault(request.session_hash, threading.Event()), []
    folder = Path(tempfile.mkdtemp(prefix="vdu-run-"))
    try:
        recipe = recipe_of(*values, folder=folder)
        origin = lay_start(start_of(session, values), folder)
        numbers = counts_for(Run(recipe, origin))
        for place, number in enumerate(numbers):
            run, shown = Run(dataclasses.replace(recipe, forget_images=number, forget_source="real"), origin), 0.0
            with closing(unlearn(run)) as events:
                for event in events:
                    if stop_asked.is_set():
                        yield {status: page.status_html(None, "Stopped.")}
                        return
                    if isinstance(event, Progress) and time.monotonic() - shown > REFRESH:
                        shown = time.monotonic()
                        yield {status: page.status_html(event, f"{number} pictures ({place + 1} of {len(numbers)})")}
            rows.append(page.count_row(number, run, report_of(run)))
            yield {counts: page.counts_html(rows, run.entry.shown(recipe.forget))}
        yield {status: page.status_html(None, "Done.")}
    except UserError as error:
        raise gr.Error(str(error), title="This cannot be run", print_exception=False) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release(request, stop_asked)


def release(request: gr.Request, stop_asked: threading.Event) -> None:
    """A visitor's run has ended; the entry of another one that waits stays."""
    if STOPS.get(request.session_hash) is stop_asked:
        del STOPS[request.session_hash]


def counts_for(run: Run) -> list[int]:
    """The numbers of real pictures to try: `COUNTS`, as far as there are so many.

    Raises:
        UserError: if there are none.
    """
    real = run.entry.forget_set(run.recipe.forget)
    if real is None:
        raise UserError("No real pictures come with this model; upload some of your own first.")
    there = len(real.images)
    return sorted({min(number, there) for number in COUNTS})


def end_run(request: gr.Request) -> bool:
    """Tell this visitor's run to end at its next event; returns whether there is one."""
    running = request.session_hash in STOPS
    if running:
        STOPS[request.session_hash].set()
    return running


def ask_to_stop(request: gr.Request) -> str:
    """Tell this visitor's run to end; it shows what it has itself, at its next event."""
    return page.status_html(None, "Stopping …" if end_run(request) else "Nothing is running.")


def leave(request: gr.Request) -> None:
    """End the run of a visitor who has closed the page, where there is no status left to show."""
    end_run(request)


def sheets(view: page.View, forget: str) -> dict[Any, Any]:
    """Sheets, curves and snapshot slider."""
    last = max(view.sheets)
    return {
        before: page.sheet_html(view, 0, forget),
        after: page.sheet_html(view, None, forget),
        when: page.snapshot_words(view, last),
        curves: page.curves_html(view),
        snapshot: gr.update(maximum=max(1, last), value=last),
    }


def whole(view: page.View, example: bool = False) -> dict[Any, Any]:
    """All that the page shows of a finished run."""
    return {
        **sheets(view, view.report["forget"]),
        headline: page.headline_html(view.report, example),
        shares: page.shares_html(view.report),
        table: page.table_html(view.report),
    }


def choose_model(session: Session | None, name: str) -> dict[Any, Any]:
    """What another model can be asked to forget, and what suits it; before a visitor's first run also its example."""
    entry, view = entry_of(name), EXAMPLES.get(name)
    worded, words_now = entry.takes_words if entry else kind_of(name) in WORDED, "Ready."
    try:
        permitted(name, "")
    except UserError as error:
        words_now = str(error)
    shown = {choice: entry is not None, own: entry is None or worded, words: worded}
    return {
        status: page.status_html(None, words_now),
        forget: gr.update(choices=[*entry.classes], value=view.report["forget"] if view else entry.classes[0])
        if entry
        else gr.skip(),
        **{part: gr.update(visible=visible) for part, visible in shown.items()},
        keep: gr.update(visible=True) if worded else gr.update(visible=False, value=""),
        judge: gr.update(visible=entry is None, choices=JUDGES if worded else FITTED, value=""),
        typed: gr.update(**page.typing(entry, worded)),
        otherwise: gr.update(label=page.OTHERWISE[worded] if entry or worded else page.SHOWN, open=entry is None or worded),
        go_on: gr.update(visible=bool(session and session.left and session.run.recipe.model == name), value=False),
        uploads: gr.update(visible=entry is None or not worded, value=None),
        others: gr.update(visible=entry is None and not worded, value=None),
        **defaults_for(name),
        **(whole(view, example=True) if view and not session else {}),
    }


def finished(session: Session, words: str) -> dict[Any, Any]:
    """Everything at the end of a run."""
    session.downloads()
    return {state: session, go_on: gr.update(visible=True), status: page.status_html(None, words), **restored(session)}


def restored(session: Session | None) -> dict[Any, Any]:
    """All that the page shows of a visitor's latest run, if there is one that came to an end."""
    if session is None or not session.files:
        return {status: page.status_html(None)}
    return {
        **whole(session.view),
        distance: gr.update(value=1, interactive=session.run.after is not None),
        **{button: gr.update(value=path, interactive=True) for button, path in zip(buttons, session.files, strict=True)},
    }


def show_snapshot(session: Session | None, name: str, position: float) -> tuple[str, str]:
    """The samples at a step of the run, or before the first one, of the model's example."""
    view = session.view if session and session.view.sheets else EXAMPLES.get(name, EXAMPLE)
    step = page.nearest(view, position)
    shown = session.run.entry.shown(session.run.recipe.forget) if session and view is session.view else view.report["forget"]
    return page.sheet_html(view, step, shown), page.snapshot_words(view, step)


@on_worker
def show_further(session: Session | None, factor: float) -> tuple[str, str]:
    """The samples of a model that went further than the run's, or not so far."""
    if session is None or session.run.after is None:
        raise gr.Error("Press Unlearn first; this slider then moves the model that your run made.", print_exception=False)
    preview = drain(further(session.run, factor))
    sheet = page.picture(page.png(preview_sheet(preview)), f"Samples {factor:.1f} times as far")
    return sheet, page.further_words(preview, factor)


@on_worker
def show_prompt(session: Session | None, prompt: str) -> str:
    """What the model before and after a visitor's run draws for their own prompt."""
    if session is None or session.run.after is None:
        raise gr.Error("Press Unlearn first; then the models before and after can be compared.", print_exception=False)
    if not session.run.entry.takes_words:
        raise gr.Error("The model of your last run draws without words.", print_exception=False)
    return page.tried_html(prompt, *drain(tried(session.run, prompt)))


def publish(session: Session | None, name: str, token: gr.OAuthToken | None) -> str:
    """Upload the model of a visitor's run to their own account on the hub."""
    try:
        if token is None:
            raise UserError("Log in first; the model then goes to your own account.")
        if session is None or not (folder := session.folder / "run" / "unlearned").is_dir():
            raise UserError("Press Unlearn first; there is no model of yours yet.")
        with tempfile.TemporaryDirectory(prefix="vdu-run-") as scratch:  # a next run would take the session's folder away
            copy = shutil.copytree(folder, Path(scratch) / "model", copy_function=os.link)
            return page.published_words(hub.publish(copy, name.strip(), token.token))
    except UserError as error:
        raise gr.Error(str(error), title="Not published", print_exception=False) from error


def defaults_for(name: str, method: str | None = None) -> dict[Any, Any]:
    """What suits a model, in all fields that depend on it; or a method on that model, in those that depend on the method."""
    recipe = Recipe(model=name, method=method)
    return {dependent[field_]: getattr(recipe, field_) for field_ in (BY_METHOD if method else DEPENDENT)}


@on_worker
def api_unlearn(model: str = "mnist-ddpm", forget: str = "3", recipe: dict | None = None) -> Iterator[dict]:
    """Make a model forget a class and return the report.

    Args:
        model: a name from the catalog.
        forget: the class to forget.
        recipe: any other choices by name, such as {"gamma": 0.9, "samples": 1000}.

    Returns:
        progress while it runs, as {"phase", "done", "total", "seconds_left"}; at the end the report as in report.json.
    """
    try:
        choices = (recipe or {}) | {"model": model, "forget": forget}
        permitted(model, "")  # at once, so that no visitor makes this machine ask the hub for others
        chosen = Recipe.from_dict(choices)
        permitted(chosen.model, chosen.judge, chosen.pictures, chosen.device)
        run = Run(chosen)
        for event in unlearn(run):
            if isinstance(event, Progress):
                yield dataclasses.asdict(event)
        yield report_of(run)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def slider(name: str, step: float) -> gr.Slider:
    """A slider over all that a field of a recipe may be."""
    choice = CHOICES[name]
    return gr.Slider(choice.low, choice.high, getattr(DEFAULT, name), step=step, label=choice.label, info=choice.explanation)


def folded(name: str) -> gr.components.Component:
    """The input for one field of a recipe."""
    choice, value = CHOICES[name], getattr(DEFAULT, name)
    if choice.options:
        return gr.Dropdown(
            list(choice.options), value=value, label=choice.label, info=choice.explanation, elem_id=f"recipe-{name}"
        )
    precision = 0 if KINDS[name] is int else None
    return gr.Number(value, label=choice.label, info=choice.explanation, precision=precision, elem_id=f"recipe-{name}")


with gr.Blocks(title="VDU Studio", fill_width=True, delete_cache=(3600, 4 * 3600)) as demo:
    state = gr.State(None, delete_callback=forget_session)
    gr.HTML(
        '<div class="vdu-title"><h1>VDU Studio</h1><span>make a diffusion model forget, and see what it costs</span></div>'
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            model = gr.Dropdown(MODELS, value=DEFAULT.model, label="Model", allow_custom_value=ANY_MODEL,
                                info="The last ones come from the hub; 512×512 needs a GPU.")  # fmt: skip
            with gr.Column(min_width=200) as choice:
                forget = gr.Radio(list(CATALOG[DEFAULT.model].classes), value=DEFAULT.forget, label="Forget", elem_id="forget",
                                  info="What the model shall no longer draw. Beside each: examples.")  # fmt: skip
            with gr.Accordion(page.OTHERWISE[False], open=False) as otherwise:
                typed = gr.Textbox(max_length=200, elem_id="typed", **page.typing(CATALOG[DEFAULT.model], worded=False))
                with gr.Column(visible=False, min_width=200) as own:
                    keep = gr.Textbox(max_length=2000, lines=2, label="Keep", elem_id="keep", info=page.KEEP_WORDS)
                    judge = gr.Dropdown(JUDGES, value="", visible=False,
                                        label="Judge", info="Who sees whether it is still drawn.")  # fmt: skip
                uploads = gr.File(file_count="multiple", file_types=["image", ".zip"], height=140, elem_id="pictures",
                                  label="Your own pictures of it, or a zip")  # fmt: skip
                seen = gr.HTML(visible=False, elem_id="seen")
                others = gr.File(file_count="multiple", file_types=["image", ".zip"], height=140, elem_id="others",
                                 label="Pictures of other things, to keep", visible=False)  # fmt: skip
                others_seen = gr.HTML(visible=False, elem_id="others-seen")
            go_on = gr.Checkbox(False, visible=False, label="Go on from the last run", elem_id="go-on",
                                info="From the model that it left, and this comes on top.")  # fmt: skip
            with gr.Row():
                go = gr.Button("Unlearn", variant="primary", size="lg", min_width=120)
                stop = gr.Button("Stop", variant="stop", size="lg", min_width=80)
            count, damage = (slider(name, step) for name, step in (("forget_images", 1), ("max_damage", 0.01)))
            with gr.Accordion("Everything else", open=False):
                advanced = {name: folded(name) for name in FOLDED}
        with gr.Column(scale=3, min_width=320):
            headline = gr.HTML(page.headline_html(EXAMPLE.report, example=True), elem_id="headline")
            status = gr.HTML(page.status_html(None), elem_id="status")
            with gr.Row():
                with gr.Column(min_width=300):
                    gr.HTML(f'<h2 class="vdu-h">Before</h2><div class="vdu-small">{page.GRID_WORDS}</div>')
                    before = gr.HTML(page.sheet_html(EXAMPLE, 0, DEFAULT.forget), elem_id="before")
                with gr.Column(min_width=300):
                    when = gr.HTML(page.snapshot_words(EXAMPLE, max(EXAMPLE.sheets)), elem_id="when")
                    after = gr.HTML(page.sheet_html(EXAMPLE, None, DEFAULT.forget), elem_id="after")
            last = max(EXAMPLE.sheets)
            snapshot = gr.Slider(
                0, last, last, step=1, label="Snapshots", elem_id="snapshot", info="Slide back through the run."
            )
            distance = gr.Slider(
                0,
                2,
                1,
                step=0.1,
                label="How far",
                elem_id="distance",
                interactive=False,
                info="After a run: its change, taken so many times. 0 is the untouched model, 1 where the run went; "
                "drawn at once, no training.",
            )
            with gr.Column(visible=False, min_width=200) as words:
                prompt = gr.Textbox(
                    label="Try any prompt",
                    info="After a run: the same seeds, before and after. Synonyms, other colours, nothing at all …",
                    placeholder="crimson trainer on a black background",
                    max_length=200,
                    elem_id="prompt",
                    submit_btn="Draw",
                )
                answer = gr.HTML(elem_id="answer")
            with gr.Row():
                with gr.Column(min_width=300):
                    gr.HTML('<h2 class="vdu-h">What it draws</h2>')
                    shares = gr.HTML(page.shares_html(EXAMPLE.report), elem_id="shares")
                    table = gr.HTML(page.table_html(EXAMPLE.report), elem_id="table")
                with gr.Column(min_width=300):
                    gr.HTML('<h2 class="vdu-h">How it got there</h2>')
                    curves = gr.HTML(page.curves_html(EXAMPLE), elem_id="curves")
            with gr.Row():
                buttons = [gr.DownloadButton(label, interactive=False, min_width=140)
                           for label in ("Report (JSON)", "Picture sheet (PNG)", "Unlearned model (zip)")]  # fmt: skip
            if LOGIN:
                with gr.Row():
                    gr.LoginButton(min_width=140)
                    repository = gr.Textbox(
                        label="Publish on the hub",
                        info="A new private model repository, with its card.",
                        placeholder="you/mnist-ddpm-without-3",
                        max_length=96,
                        submit_btn="Publish",
                    )
                published = gr.HTML()
                repository.submit(publish, [state, repository], published, api_visibility="private")
            with gr.Accordion("How many pictures does it take?", open=False):
                gr.Markdown(page.EXPERIMENT)
                try_counts = gr.Button("Try 1, 4, 16, 64 and 256 pictures", min_width=120)
                counts = gr.HTML(elem_id="counts")
            with gr.Accordion("What is happening here", open=False):
                gr.Markdown(EXPLANATION, latex_delimiters=LATEX)
                gr.HTML(page.timesteps_html(CATALOG[DEFAULT.model], (DEFAULT.t_min, DEFAULT.t_max)))
                gr.Markdown(NUMBERS, latex_delimiters=LATEX)

    outputs = [state, headline, status, before, when, after, snapshot, distance, shares, table, curves, go_on, *buttons]
    inputs = [model, forget, typed, keep, uploads, others, judge, count, damage, go_on, *advanced.values()]
    for button, run_it, shown in ((go, start, outputs), (try_counts, compare_counts, [status, counts])):
        button.click(
            run_it,
            [state, *inputs],
            shown,
            validator=check,
            concurrency_limit=1,
            concurrency_id="device",
            trigger_mode="once",
            show_progress="full",
            show_progress_on=status,
            api_visibility="private",
        )
    dependent = {name: damage if name == "max_damage" else advanced[name] for name in DEPENDENT}
    # What is picked takes the place of what was typed. In the browser, at once: cleared by the server's answer, words that
    # were typed meanwhile would be lost.
    for picked in (model, forget):
        picked.input(None, None, typed, js="() => ''", api_visibility="private")
    model.input(
        choose_model,
        [state, model],
        [forget, choice, otherwise, own, words, typed, keep, uploads, others, judge, *dependent.values(), *outputs],
        show_progress="hidden",
        api_visibility="private",
    )
    for files, preview in ((uploads, seen), (others, others_seen)):
        files.change(show_pictures, [files, model], preview, show_progress="hidden", api_visibility="private")
    stop.click(ask_to_stop, None, status, show_progress="hidden", api_visibility="private")
    demo.unload(leave)
    snapshot.input(show_snapshot, [state, model, snapshot], [after, when], show_progress="hidden", trigger_mode="always_last",
                   api_visibility="private")  # fmt: skip
    distance.input(show_further, [state, distance], [after, when], show_progress="hidden", trigger_mode="always_last",
                   concurrency_limit=1, concurrency_id="device", api_visibility="private")  # fmt: skip
    prompt.submit(show_prompt, [state, prompt], answer, show_progress="minimal", concurrency_limit=1,
                  concurrency_id="device", api_visibility="private")  # fmt: skip
    advanced["method"].input(defaults_for, [model, advanced["method"]], [advanced[name] for name in BY_METHOD],
                             show_progress="hidden", api_visibility="private")  # fmt: skip
    gr.api(api_unlearn, api_name="unlearn", concurrency_limit=1, concurrency_id="device")

demo.queue(max_size=20)

if __name__ == "__main__":
    demo.launch(server_name=OPTIONS.host, server_port=OPTIONS.port, theme=THEME, css=CSS, max_file_size="20mb")

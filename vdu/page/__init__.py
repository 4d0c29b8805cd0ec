"""The page: `build` makes it from the inputs on the left and the panels, one file per panel, on the right."""

import itertools
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from vdu.errors import UserError
from vdu.page.api import make_api
from vdu.page.bodies import Bodies
from vdu.page.controls import Controls
from vdu.page.errors import ANSWERS, Studio, shows_errors
from vdu.page.markup import render
from vdu.page.panel import AT_ONCE, Page, default_recipe, make_panels
from vdu.page.presence import Gate
from vdu.page.run import Runner, status_html
from vdu.page.session import Session, forget_session
from vdu.page.settings import Settings
from vdu.page.style import THEME, page_css
from vdu.page.sweeper import health, keep_clean
from vdu.page.view import examples
from vdu.recipe import FIELDS, validate
from vdu.workspace import downloads

SPARE_THREADS = 40  # besides one per run that waits

__all__ = ["Settings", "build", "launch_options"]


def build(settings: Settings) -> gr.Blocks:
    """The page, ready to launch.

    Args:
        settings: what visitors may do.
    """
    gr.set_static_paths([downloads()])
    with Studio(title="VDU Studio", fill_width=True, analytics_enabled=False) as demo:
        state = gr.State(None, delete_callback=forget_session)
        gr.HTML(render("title"))
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                controls = Controls(settings, default_recipe())
            with gr.Column(scale=3, min_width=320):
                page = Page(settings, controls, state, gr.HTML(status_html(), elem_id="status", render=False))
                page.panels = make_panels()
                build_panels(page)
        runner = Runner(page)
        runner.wire()
        wire_model(page)
        demo.unload(runner.leave)
        gr.api(make_api(page), api_name="unlearn", concurrency_limit=None)
    demo.page = page
    return demo.queue(api_open=False)


def build_panels(page: Page) -> None:
    """Build every panel in its place; neighbours of half width share a row."""
    for half, panels in itertools.groupby(page.panels, key=lambda panel: panel.half):
        if half:
            with gr.Row():
                for panel in panels:
                    with gr.Column(min_width=300):
                        panel.build(page)
        else:
            for panel in panels:
                panel.build(page)


def wire_model(page: Page) -> None:
    """Let the choice of a model change the inputs and, before the visitor's first run, the example on show."""

    @shows_errors()
    def choose_model(session: Session | None, model: str) -> dict[Any, Any]:
        return model_changes(page, session, validate(FIELDS["model"], model))

    model = page.controls.fields["model"]
    model.input(
        choose_model,
        [page.state, model],
        list(dict.fromkeys([*page.controls.outputs, *page.outputs])),
        show_progress="hidden",
        **AT_ONCE,
    )


def model_changes(page: Page, session: Session | None, model: str) -> dict[Any, Any]:
    """Component -> what it shows after the visitor has chosen a model."""
    try:
        page.settings.check_allowed(model, "")
        words = "Ready."
    except UserError as error:
        words = str(error)
    changes = {page.status: status_html(words), **page.controls.for_model(model, session)}
    for panel in page.panels:  # in one answer: between two, what is picked would not be among the choices
        changes |= panel.offer(model)
    return changes if session or model not in examples() else changes | page.render_last(None, model)


def launch_options(demo: Studio) -> dict[str, Any]:
    """Arguments that `demo.launch` needs, for the theme, the bounds on uploads, errors, and what is given away.

    From here on the server keeps itself clean (`keep_clean`). The history of runs in the visitor's browser is off, as is
    monitoring: on a shared machine the next visitor could read either.
    """
    page, settings = demo.page, demo.page.settings
    keep_clean(demo)
    gate = Middleware(Gate, presence=page.presence, health=lambda: health(page))
    return {
        "theme": THEME,
        "css": page_css(),
        "max_file_size": settings.upload_limit,
        "max_threads": settings.queue_length + settings.visitors_per_address + SPARE_THREADS,
        "enable_monitoring": False,
        "run_history": False,
        "show_error": True,
        "app_kwargs": {"exception_handlers": ANSWERS, "middleware": [Middleware(Bodies), gate]},
    }

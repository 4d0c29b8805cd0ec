"""The results to take away: files to download and, on a Space, a repository of the visitor."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from vdu.errors import UserError
from vdu.models import hub
from vdu.page.errors import shows_errors
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.session import Session
from vdu.page.view import RunView

FILES = ("Report (JSON)", "Picture sheet (PNG)", "Unlearned model (zip)")  # in the order of `RunView.files`


class Publish(Panel):
    """Download buttons and, if visitors can log in, a field to publish the model."""

    order = 50

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        with gr.Row():
            self.outputs = [gr.DownloadButton(label, interactive=False, min_width=140) for label in FILES]
        if page.settings.login:
            with gr.Row():
                gr.LoginButton(min_width=140)
                repository = gr.Textbox(
                    label="Publish on the hub",
                    info="Name of a new private repository for the model and its card.",
                    placeholder="you/mnist-ddpm-without-3",
                    max_length=96,
                    submit_btn="Publish",
                )
            published = gr.HTML()
            repository.submit(publish, [page.state, repository], published, api_visibility="private")

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        files = [*view.files, *[None] * len(FILES)][: len(FILES)]
        return {
            button: gr.update(value=path, interactive=path is not None)
            for button, path in zip(self.outputs, files, strict=True)
        }


@shows_errors("Not published")
def publish(session: Session | None, name: str, token: gr.OAuthToken | None) -> str:
    """Upload the model of a visitor's run to their own account on the hub."""
    if token is None:
        raise UserError("Log in first; the model is then uploaded to your own account.")
    if session is None or not (folder := session.folder / "run" / "unlearned").is_dir():
        raise UserError("You have no unlearned model yet: press Unlearn, with a method that changes the weights.")
    with tempfile.TemporaryDirectory(prefix="vdu-run-") as scratch:  # the visitor's next run deletes the session's folder
        copy = shutil.copytree(folder, Path(scratch) / "model", copy_function=os.link)
        return render("published", address=hub.publish(copy, name.strip(), token.token))


PANEL = Publish

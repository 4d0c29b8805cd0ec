"""Theme and CSS of the page."""

import gradio as gr
import torch

from vdu.assets import ASSETS
from vdu.catalog import CATALOG, Entry
from vdu.page.markup import data_url, png
from vdu.page.view import examples
from vdu.sheet import as_picture

THEME = gr.themes.Soft(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
# Small print and labels must be legible on a projector; the theme's light grey, and its blue, are not.
THEME = THEME.set(
    background_fill_primary="*neutral_50",  # the value of Soft, which `set` would replace by white
    checkbox_border_color="*neutral_400",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_info_text_size="13px",
    block_label_text_color="*primary_700",
    block_title_text_color="*primary_700",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    checkbox_label_background_fill_selected="*primary_600",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    link_text_color_dark="*primary_400",
)
EXAMPLES_PER_CLASS = 7  # pictures beside the name of a class


def page_css() -> str:
    """The style sheet, with example pictures beside the class names of every shipped model."""
    return (ASSETS / "page.css").read_text() + "\n".join(class_pictures_css(CATALOG[name]) for name in examples())


def class_pictures_css(entry: Entry) -> str:
    """CSS that puts example pictures beside the name of each class in the radio group `#forget`."""
    rules = []
    for name in entry.classes:
        strip = data_url(png(as_picture(torch.cat([*entry.pictures.examples(name)[:EXAMPLES_PER_CLASS]], dim=2))))
        rules.append(
            f'#forget [data-testid="{name}-radio-label"]::after {{ content: ""; height: 28px; flex: 1; '
            f"background: url({strip}) left / auto 28px no-repeat; }}"
        )
    return "\n".join(rules)

"""The left column: an input for each field of a recipe, and the recipe that they describe."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vdu.catalog import CATALOG, Entry, entry_of
from vdu.errors import UserError
from vdu.export import sheet
from vdu.page.errors import shows_errors
from vdu.page.markup import png, render
from vdu.page.session import Session, check_count, read_uploads, save_uploads
from vdu.page.settings import Settings
from vdu.page.view import example_of, examples
from vdu.recipe import BY_METHOD, DEPENDENT, FIELDS, PROMPTED, Recipe, resolve
from vdu.task import kind_of, shape_of

ACCORDIONS = {"method": "Method settings", "sampling": "Sampling", "expert": "Expert"}  # title per group; "basic" has none
PROMPTS_ONLY = ("guidance", "parameters")  # fields that mean nothing to a model without prompts
HIDDEN = ("device",)  # fields that a visitor does not choose

SEVERAL_OR_PICTURES, IN_WORDS, IN_PICTURES = "Several at once, or your own pictures", "In words", "In your own pictures"
ATTRIBUTE = {
    "label": "… or type it",
    "info": "Replaces the choice above: a class by any of its names, a pair, or several with commas between.",
    "placeholder": "crimson, or: a red sneaker, or: red, blue",
}
SEVERAL = {"label": "… or several", "info": "Replaces the choice above: several classes with commas between."}
PROMPT = {
    "label": "Forget",
    "info": "A prompt for it. Put the words to forget in [brackets]; without brackets, all of it is forgotten.",
    "placeholder": "a painting [by Van Gogh]",
}
NAME = {
    "label": "Forget",
    "info": "Name the thing in your pictures (8 or more), or a class the judge already knows.",
    "placeholder": "our church",
}
PRIVATE = {"show_progress": "hidden", "api_visibility": "private"}


def takes_prompts(model: str) -> bool:
    """Whether a model takes prompts, as far as its name or configuration tells."""
    entry = entry_of(model)
    return entry.takes_prompts if entry else kind_of(model) in PROMPTED


def typing(entry: Entry | None, prompted: bool) -> dict[str, str]:
    """Label, help and placeholder of the field for what is typed; `entry` is None for a model the catalogue does not know."""
    if entry is None:
        return PROMPT if prompted else NAME
    if prompted:
        return ATTRIBUTE
    return SEVERAL | {"placeholder": f"{entry.classes[3]}, {entry.classes[-2]}"}


def as_markdown(text: str) -> str:
    """A text as Markdown, which Gradio takes help for: the asterisk of mu* does not start a word in italics."""
    return text.replace("*", r"\*")


def option_title(option: str, text: str) -> str:
    """How a list shows an option: its name and what is said of it, unless that names it already."""
    return text if text.lower().startswith(option) else f"{option}: {text}" if text else option


def recipe_of(values: Mapping[str, Any], settings: Settings, folder: Path | None = None) -> Recipe:
    """The recipe that the inputs describe.

    Args:
        values: the inputs by name: a recipe's fields, "typed" (replaces "forget"), "pictures" and "others" (paths of uploads).
        settings: what is allowed.
        folder: where to copy uploads to; without it they are left out.

    Raises:
        UserError: for what cannot be run.
    """
    choices = {name: values[name] for name in values if name in FIELDS}
    # An input that has not been opened yet may hold None.
    choices |= {name: values[name] or "" for name in ("keep", "judge")}
    typed, uploaded, others = (values["typed"] or "").strip(), values["pictures"], values["others"]
    check_count(uploaded)
    check_count(others)
    pictures = save_uploads(uploaded, folder / "pictures") if folder else ""
    if entry := entry_of(values["model"]):
        choices |= {"forget": typed or values["forget"], "judge": "", "pictures": ""}
        if not entry.takes_prompts:
            choices |= {"keep": "", "pictures": pictures}
        entry.concept(choices["forget"]).plan(1)
    else:
        choices |= {"forget": typed, "pictures": pictures}
        if others and takes_prompts(values["model"]):
            raise UserError("This model takes words; write prompts to keep, and take the pictures of other things out.")
        if others and folder:
            choices["keep"] = save_uploads(others, folder / "others")
        if not typed:
            raise UserError("Write what the model must forget, in the words of a prompt for it.")
    settings.check_allowed(choices["model"], choices["judge"])
    return Recipe.from_dict(choices)


@shows_errors("These cannot be used")
def show_uploads(uploaded: list[str] | None, model: str) -> dict[str, Any]:
    """What the model will see of uploaded pictures; those that cannot be read are named."""
    readable, left_out = read_uploads(uploaded or [], shape_of(model))
    return gr.update(value=uploads_html(readable.values(), left_out), visible=bool(readable or left_out))


def uploads_html(images: Iterable[Tensor], left_out: list[str]) -> str:
    """Pictures (c, h, w), uint8, as the model will see them, and a sentence for each file that is left out."""
    images = list(images)
    drawn = png(sheet(torch.stack(images), torch.zeros(len(images)))) if images else None
    return render("uploads", png=drawn, count=len(images), left_out=left_out)


class Controls:
    """The inputs, built where a `gr.Blocks` is open.

    Attributes:
        fields: input by name: the fields of a recipe, and "typed", "others" and "go_on".
        start, stop: the buttons.
    """

    def __init__(self, settings: Settings, default: Recipe) -> None:
        self.settings = settings
        self.default = default
        self.fields: dict[str, gr.components.Component] = {}
        self.build_concept()
        self.fields["go_on"] = gr.Checkbox(
            False, visible=False, label="Go on from the last run", elem_id="go-on", info="Start from the model that run left."
        )
        with gr.Row():
            self.start = gr.Button("Unlearn", variant="primary", size="lg", min_width=120)
            self.stop = gr.Button("Stop", variant="stop", size="lg", min_width=80)
        self.fields["forget_images"] = self.slider("forget_images", 1)
        self.fields["max_damage"] = self.slider("max_damage", 0.01)
        self.build_group("basic")
        for group, title in ACCORDIONS.items():
            with gr.Accordion(title, open=False):
                self.build_group(group)
        self.wire()

    def build_concept(self) -> None:
        """What is to be forgotten: by class, in words, or in pictures."""
        fields, entry = self.fields, CATALOG[self.default.model]
        fields["model"] = gr.Dropdown(
            self.settings.models,
            value=self.default.model,
            label="Model",
            allow_custom_value=self.settings.any_model,
            info="The last ones come from the hub; 512×512 needs a GPU.",
        )
        with gr.Column(min_width=200) as self.by_class:
            fields["forget"] = gr.Radio(
                list(entry.classes),
                value=self.default.forget,
                label="Forget",
                elem_id="forget",
                info="What the model must no longer draw. Beside each: examples.",
            )
        with gr.Accordion(SEVERAL_OR_PICTURES, open=False) as self.otherwise:
            fields["typed"] = gr.Textbox(max_length=200, elem_id="typed", **typing(entry, prompted=False))
            with gr.Column(visible=False, min_width=200) as self.by_prompt:
                fields["keep"] = gr.Textbox(
                    max_length=2000,
                    lines=2,
                    label="Keep",
                    elem_id="keep",
                    info="Prompts to keep, one per line. Empty: varied defaults.",
                )
                fields["judge"] = gr.Dropdown(
                    self.settings.judges(takes_prompts=True),
                    value="",
                    visible=False,
                    label="Judge",
                    info="Who sees whether it is still drawn.",
                )
            self.seen = {}
            for name, label in (
                ("pictures", "Your own pictures of it, or a zip"),
                ("others", "Pictures of other things, to keep"),
            ):
                fields[name] = gr.File(
                    file_count="multiple",
                    file_types=["image", ".zip"],
                    height=140,
                    elem_id=name,
                    label=label,
                    visible=name == "pictures",
                )
                self.seen[name] = gr.HTML(visible=False, elem_id="seen" if name == "pictures" else "others-seen")

    def build_group(self, group: str) -> None:
        """An input for each field of a group that has none yet."""
        for name, field in FIELDS.items():
            if field.group == group and name not in (*self.fields, *HIDDEN):
                self.fields[name] = self.plain(name)

    def plain(self, name: str) -> gr.components.Component:
        """The input for one field: a list of its options, or a number."""
        field, value = FIELDS[name], getattr(self.default, name)
        common = {
            "value": value,
            "label": field.label,
            "info": as_markdown(field.help),
            "elem_id": f"recipe-{name}",
            "visible": name not in PROMPTS_ONLY or takes_prompts(self.default.model),
        }
        if field.options:
            return gr.Dropdown([(option_title(option, text), option) for option, text in field.options.items()], **common)
        return gr.Number(precision=0 if field.type is int else None, **common)

    def slider(self, name: str, step: float) -> gr.Slider:
        """A slider over everything one field may be."""
        field, value = FIELDS[name], getattr(self.default, name)
        return gr.Slider(field.low, field.high, value, step=step, label=field.label, info=as_markdown(field.help))

    def wire(self) -> None:
        """What the inputs do to one another."""
        fields = self.fields
        # What is picked replaces what was typed. In the browser, at once: if the server's answer cleared it, words typed
        # meanwhile would be lost.
        for picked in (fields["model"], fields["forget"]):
            picked.input(None, None, fields["typed"], js="() => ''", api_visibility="private")
        for name, seen in self.seen.items():
            fields[name].change(show_uploads, [fields[name], fields["model"]], seen, **PRIVATE)
        fields["method"].input(
            self.suited, [fields["model"], fields["method"]], [fields[name] for name in BY_METHOD], **PRIVATE
        )

    @property
    def outputs(self) -> list[Any]:
        """Everything that may change when another model is picked."""
        return [
            self.by_class,
            self.by_prompt,
            self.otherwise,
            *(part for name, part in self.fields.items() if name != "model"),
        ]

    def values(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """The inputs by name, from what Gradio hands to a listener whose inputs are a set."""
        return {name: data[component] for name, component in self.fields.items()}

    def suited(self, model: str, method: str | None = None) -> dict[Any, Any]:
        """Defaults of every field that depends on the model; or, given a method, of those that depend on the method."""
        recipe = resolve(Recipe(model=model, method=method), kind_of(model))
        return {self.fields[name]: getattr(recipe, name) for name in (BY_METHOD if method else DEPENDENT)}

    def for_model(self, model: str, session: Session | None) -> dict[Any, Any]:
        """What another model can be asked to forget, and what suits it."""
        entry, prompted, fields = entry_of(model), takes_prompts(model), self.fields
        label = IN_WORDS if prompted else SEVERAL_OR_PICTURES if entry else IN_PICTURES
        changes = {
            self.by_class: gr.update(visible=entry is not None),
            self.by_prompt: gr.update(visible=entry is None or prompted),
            self.otherwise: gr.update(label=label, open=entry is None or prompted),
            fields["typed"]: gr.update(**typing(entry, prompted)),
            fields["keep"]: gr.update(visible=True) if prompted else gr.update(visible=False, value=""),
            fields["judge"]: gr.update(visible=entry is None, choices=self.settings.judges(prompted), value=""),
            fields["go_on"]: gr.update(visible=can_go_on(session, model), value=False),
            fields["pictures"]: gr.update(visible=entry is None or not prompted, value=None),
            fields["others"]: gr.update(visible=entry is None and not prompted, value=None),
            **{component: gr.update(value=value) for component, value in self.suited(model).items()},
        }
        if entry:
            example = example_of(model).forget if model in examples() else entry.classes[0]
            changes[fields["forget"]] = gr.update(choices=[*entry.classes], value=example)
        for name in PROMPTS_ONLY:
            changes[fields[name]]["visible"] = prompted
        return changes


def can_go_on(session: Session | None, model: str) -> bool:
    """Whether a visitor's next run can start from the model that their last one left."""
    return bool(session and session.model_folder and session.model == model)

"""The left column: an input for each field of a recipe, and the recipe that they describe."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from vdu.catalog import CATALOG, Entry, entry_of
from vdu.concepts.base import named_in
from vdu.errors import UserError
from vdu.page.session import Session
from vdu.page.settings import Settings
from vdu.page.uploads import Preview, check_count, save_uploads
from vdu.page.view import example_of, examples
from vdu.recipe import BY_METHOD, DEPENDENT, FIELDS, OPEN, PROMPTED, Recipe, defaults_of, resolve, validate
from vdu.task import kind_of

ACCORDIONS = {"method": "Method settings", "sampling": "Sampling", "expert": "Expert"}  # "basic" has none
PROMPTS_ONLY = ("guidance", "parameters")  # fields for models that take prompts
HIDDEN = ("device",)  # fields without an input

SEVERAL_OR_PICTURES, IN_WORDS, IN_PICTURES = "Several classes, or your own pictures", "In words", "Your own pictures"
ATTRIBUTE = {
    "label": "Or in your own words",
    "info": "Replaces the choice above: a class or a synonym, or several separated by commas.",
}
SEVERAL = {"label": "Several classes", "info": "Replaces the choice above: classes separated by commas."}
PROMPT = {
    "label": "Forget",
    "info": "A prompt with the words to forget in [brackets]; without brackets all of it is forgotten.",
    "placeholder": "a painting [by Van Gogh]",
}
NAME = {
    "label": "Forget",
    "info": "A name for what your pictures show (8 or more), or a class that the judge already knows.",
    "placeholder": "our church",
}
PRIVATE = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def takes_prompts(model: str) -> bool:
    """Whether a model takes prompts, by its catalog entry or its configuration."""
    return kind_of(model) in PROMPTED


def typed_texts(entry: Entry | None, prompted: bool) -> dict[str, str]:
    """Label, help and placeholder of the text field "typed"; `entry` is None for a model that is not in the catalog."""
    if entry is None:
        return PROMPT if prompted else NAME
    if prompted:
        return ATTRIBUTE | {"placeholder": "   or   ".join(entry.concept(entry.classes[0]).ways_to_name)}
    return SEVERAL | {"placeholder": f"{entry.classes[3]}, {entry.classes[-2]}"}


def as_markdown(text: str) -> str:
    """A help text for Gradio, which renders it as Markdown: an asterisk, even with a backslash, would start italics."""
    return text.replace("*", "∗")


def option_title(option: str, text: str) -> str:
    """The title of an option: its name and description; only the description if that starts with the name."""
    return text if text.lower().startswith(option) else f"{option}: {text}" if text else option


def recipe_of(values: Mapping[str, Any], settings: Settings, folder: Path | None = None) -> Recipe:
    """The recipe that the inputs describe.

    Args:
        values: the inputs by name: a recipe's fields, "typed" (replaces "forget"), "pictures" and "others" (paths of uploads).
        settings: what visitors may do.
        folder: where to link uploads into; if None, the recipe has no uploads.

    Raises:
        UserError: if the inputs describe no valid recipe.
    """
    choices = {name: values[name] for name in values if name in FIELDS}
    # An input that has not been opened yet may hold None.
    choices |= {name: values[name] or "" for name in ("keep", "judge")}
    typed, uploaded, others = (values["typed"] or "").strip(), values["pictures"], values["others"]
    validate(FIELDS["model"], values["model"])
    for name, value in choices.items():
        if value is None and FIELDS[name].type is not str:  # an emptied input; a recipe would take its default
            validate(FIELDS[name], value)
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
            raise UserError("This model takes prompts; write prompts to keep, and remove the pictures of other things.")
        if others and folder:
            choices["keep"] = save_uploads(others, folder / "others")
        if not typed:
            raise UserError("Write what the model must forget in the field “Forget”.")
    settings.check_allowed(choices["model"], choices["judge"])
    recipe = Recipe.from_dict(choices)
    several = len(named_in(recipe.forget)) > 1
    if several and recipe.steps == defaults_of(kind_of(recipe.model), recipe.method, recipe.model)["steps"]:
        return replace(recipe, steps=OPEN)  # several at once take more than the input's own default
    return recipe


class Controls:
    """The inputs; construct it inside an open `gr.Blocks`.

    Attributes:
        fields: input by name: the fields of a recipe, and "typed", "others" and "go_on".
        start, stop: the buttons.
        previews: what shows the uploads of an input, by the input's name.
    """

    def __init__(self, settings: Settings, default: Recipe) -> None:
        self.settings = settings
        self.default = default
        self.fields: dict[str, gr.components.Component] = {}
        self.previews = {name: Preview() for name in ("pictures", "others")}
        self.build_concept()
        self.fields["go_on"] = gr.Checkbox(
            False, visible=False, label="Go on from the last run", elem_id="go-on", info="Start from your last run's model."
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
        """Inputs for what to forget: a class, words or pictures."""
        fields, entry = self.fields, CATALOG[self.default.model]
        fields["model"] = gr.Dropdown(
            self.settings.models,
            value=self.default.model,
            label="Model",
            allow_custom_value=self.settings.any_model,
            info="Shipped models first, then models from the Hugging Face hub; 512×512 needs a GPU.",
        )
        with gr.Column(min_width=200) as self.by_class:
            fields["forget"] = gr.Radio(
                list(entry.classes),
                value=self.default.forget,
                label="Forget",
                elem_id="forget",
                info="What the model must no longer draw. The pictures are examples.",
            )
        with gr.Accordion(SEVERAL_OR_PICTURES, open=False) as self.typed_part:
            fields["typed"] = gr.Textbox(max_length=200, elem_id="typed", **typed_texts(entry, prompted=False))
            with gr.Column(visible=False, min_width=200) as self.by_prompt:
                fields["keep"] = gr.Textbox(
                    max_length=2000,
                    lines=2,
                    label="Keep",
                    elem_id="keep",
                    info="Prompts that must work as before, one per line. Empty: varied default prompts.",
                )
                fields["judge"] = gr.Dropdown(
                    self.settings.judges(takes_prompts=True),
                    value="",
                    visible=False,
                    label="Judge",
                    info="The classifier that decides whether an image shows what to forget.",
                )
            self.seen = {}
            for name, label in (
                ("pictures", "Your own pictures of what to forget, or a zip"),
                ("others", "Pictures of other things that the model must keep"),
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
        """Build an input for each field of a group that does not have one yet."""
        for name, field in FIELDS.items():
            if field.group == group and name not in (*self.fields, *HIDDEN):
                self.fields[name] = self.plain(name)

    def plain(self, name: str) -> gr.components.Component:
        """The input for a field: a list of its options, or a number."""
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
        return gr.Number(**common)  # as typed: Gradio would round what must be a whole number

    def slider(self, name: str, step: float) -> gr.Slider:
        """A slider over the range of a field."""
        field, value = FIELDS[name], getattr(self.default, name)
        return gr.Slider(field.low, field.high, value, step=step, label=field.label, info=as_markdown(field.help))

    def wire(self) -> None:
        """Connect inputs that change other inputs."""
        fields = self.fields
        # A choice clears the text field. In the browser, because an answer of the server would come later and clear
        # what the visitor has typed meanwhile.
        for picked in (fields["model"], fields["forget"]):
            picked.input(None, None, fields["typed"], js="() => ''", api_visibility="private")
        for name, seen in self.seen.items():
            fields[name].change(
                self.previews[name].show,
                [fields[name], fields["model"]],
                seen,
                trigger_mode="multiple",  # other files end the preview of those before
                concurrency_limit=None,
                **PRIVATE,
            )
        fields["method"].input(
            self.defaults_for, [fields["model"], fields["method"]], [fields[name] for name in BY_METHOD], **PRIVATE
        )

    @property
    def outputs(self) -> list[Any]:
        """All components that the choice of a model may change."""
        return [
            self.by_class,
            self.by_prompt,
            self.typed_part,
            *(part for name, part in self.fields.items() if name != "model"),
        ]

    def values(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Name -> value of the inputs, from component -> value, as Gradio calls a listener whose inputs are a set."""
        return {name: data[component] for name, component in self.fields.items()}

    def defaults_for(self, model: str, method: str | None = None) -> dict[Any, Any]:
        """Input -> default, for the fields that depend on the model or, if a method is given, on the method."""
        recipe = resolve(Recipe(model=model, method=method), kind_of(model))
        return {self.fields[name]: getattr(recipe, name) for name in (BY_METHOD if method else DEPENDENT)}

    def for_model(self, model: str, session: Session | None) -> dict[Any, Any]:
        """Component -> change, after the visitor has chosen a model: what it can forget, and its defaults."""
        entry, prompted, fields = entry_of(model), takes_prompts(model), self.fields
        label = IN_WORDS if prompted else SEVERAL_OR_PICTURES if entry else IN_PICTURES
        changes = {
            self.by_class: gr.update(visible=entry is not None),
            self.by_prompt: gr.update(visible=entry is None or prompted),
            self.typed_part: gr.update(label=label, open=entry is None or prompted),
            fields["typed"]: gr.update(**typed_texts(entry, prompted)),
            fields["keep"]: gr.update(visible=True) if prompted else gr.update(visible=False, value=""),
            fields["judge"]: gr.update(visible=entry is None, choices=self.settings.judges(prompted), value=""),
            fields["go_on"]: gr.update(visible=can_go_on(session, model), value=False),
            fields["pictures"]: gr.update(visible=entry is None or not prompted, value=None),
            fields["others"]: gr.update(visible=entry is None and not prompted, value=None),
            **self.defaults_for(model),
        }
        if entry:
            example = example_of(model).forget if model in examples() else entry.classes[0]
            changes[fields["forget"]] = gr.update(choices=[*entry.classes], value=example)
        for name in PROMPTS_ONLY:
            changes[fields[name]] = gr.update(value=changes[fields[name]], visible=prompted)
        return changes


def can_go_on(session: Session | None, model: str) -> bool:
    """Whether a visitor's next run can start from the model that their last run made."""
    return bool(session and session.model_folder and session.model == model)

"""Recipe: every choice of a user with its bounds, validated on construction, to and from JSON. It reads no file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vdu.catalog import CATALOG
from vdu.concepts.base import ConceptRequest, named_in
from vdu.errors import UserError, quoted
from vdu.methods import METHODS, Method
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL
from vdu.optimizers import AT_ONCE, OPTIMIZERS
from vdu.posterior import POSTERIORS
from vdu.sampling import ALGORITHMS, HowToSample

OPEN: Any = None  # value of a field that takes the default of the method and the kind of model, see `resolve`
LONGEST = 2000  # letters of a text at most
# Removed field -> the value that is now fixed: an older recipe with this value can still be read.
RETIRED = {"weighting": "simple", "patience": 2}

Group = Literal["basic", "method", "sampling", "expert"]


@dataclass(frozen=True)
class Field:
    """Type, bounds and texts of one field of a recipe; page, command line, API and docs are made from it.

    Attributes:
        label: its name on the page.
        help: one sentence for a newcomer, at most 90 characters.
        group: the part of the page that shows it.
        type: str, int or float.
        low, high: inclusive bounds of a number.
        options: allowed value -> its description; empty if the values are not fixed.
        optional: whether a text may be empty.
    """

    label: str
    help: str
    group: Group
    type: type
    low: float | None = None
    high: float | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional: bool = False


def text(label: str, help: str, group: Group = "basic", default: str = OPEN, optional: bool = False) -> Any:
    """A field for any text."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, str, optional=optional)})


def choice(label: str, help: str, group: Group, options: Mapping[str, str], default: str = OPEN) -> Any:
    """A field for one of several options."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, str, options=options)})


def whole(label: str, help: str, group: Group, low: int, high: int, default: int = OPEN) -> Any:
    """A field for a whole number from `low` to `high`."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, int, low, high)})


def number(label: str, help: str, group: Group, low: float, high: float) -> Any:
    """A field for a number from `low` to `high`."""
    return dataclasses.field(default=OPEN, metadata={"field": Field(label, help, group, float, low, high)})


@dataclass(frozen=True)
class Recipe:
    """The choices of one run; `FIELDS` explains and bounds each field. `resolve` fills the fields left `OPEN`.

    Raises:
        UserError: on construction, for a value of the wrong type or out of bounds, or values that contradict each other.
    """

    model: str = text("Model", "Catalog name, or folder or hub id of a diffusers model.", default="mnist-ddpm")
    forget: str = text("Forget", "A class of the model, or a prompt with the words to forget in [brackets].", default="3")
    keep: str = text(
        "Keep", "Prompts to keep, divided by line breaks or “;”. Model without prompts: a picture folder.", "basic", "", True
    )
    pictures: str = text(
        "Pictures",
        "Pictures of what to forget: folder, zip or hub data set. Not for tiny-sd and cifar10-sd.",
        "basic",
        "",
        True,
    )
    judge: str = text(
        "Judge", "A CLIP model (hub id or folder), nudenet, or pictures (a classifier fitted on yours).", "basic", "", True
    )
    method: str = choice(
        "Method", "The unlearning algorithm.", "basic", {name: method.title for name, method in METHODS.items()}
    )
    gamma: float = number(
        "gamma",
        "Weight of stability against plasticity; a lower value forgets harder.",
        "method",
        0,
        0.9999,
    )
    reach: float = number(
        "Reach", "Factor on the method's correction; for vdu-f with prompts, the odds in its formula.", "method", 0, 10
    )
    steps: int = whole("Steps", "Maximum number of steps; the run stops earlier once the class is gone.", "method", 1, 2000)
    step_size: float = number(
        "Step size", "Length of a step, in the optimizer's unit: standard deviations, or a learning rate.", "method", 1e-6, 10
    )
    optimizer: str = choice("Optimizer", "How the weights are updated.", "expert", OPTIMIZERS)
    posterior: str = choice(
        "Posterior", "Estimate of the weights' mean mu* and variance sigma*², if method or optimizer needs it.", "expert",
        {name: words for name, (_, words) in POSTERIORS.items()},
    )  # fmt: skip
    parameters: str = choice(
        "Parameters", "Which parameters of the network may change.", "expert",
        {"all": "all", "cross-attention": "the layers that read the prompt", "no-cross-attention": "all other layers",
         "keys-values": "how these layers turn the prompt into keys and values"},
    )  # fmt: skip
    t_min: int = whole(
        "First timestep", "Forget images are noised to timesteps from this one on; 0 is no noise.", "expert", 0, 998
    )
    t_max: int = whole(
        "Last timestep",
        "The noisiest timestep of forget images. A digit is decided between t = 245 and t = 754.",
        "expert",
        1,
        999,
    )
    batch_size: int = whole(
        "Batch size", "Forget images per step; methods with a retain set add as many replayed images.", "expert", 1, 256
    )
    forget_source: str = choice(
        "Forget set from", "Where the forget images come from.", "expert",
        {"real": "real pictures of the class", "model": "only images of the class that the model itself draws"}, "real",
    )  # fmt: skip
    forget_images: int = whole(
        "Forget images", "Maximum number of real pictures of the class that the method sees.", "basic", 1, 500, 500
    )
    replay: int = whole(
        "Replay", "Images the untouched model draws first: the retain set, and seeds for the previews.", "expert", 24, 2048
    )
    preview_every: int = whole("Preview every", "Steps between two previews of the model.", "expert", 1, 500)
    target: float = number(
        "Target forget rate", "The run stops at this forget rate; then the change is scaled to just meet it.", "method", 0, 1
    )
    max_damage: float = number(
        "Damage allowed", "Share of kept images that may change their class; a higher value forgets harder.", "basic", 0, 1
    )
    samples: int = whole("Samples", "Images drawn before and after, to measure both models.", "sampling", 50, 20000)
    sampler_steps: int = whole("Sampler steps", "Network evaluations per image; more is slower and finer.", "sampling", 2, 100)
    sampler: str = choice(
        "Sampler", "Variant of DPM-Solver++; sde adds fresh noise at every step and needs about 15 steps.", "sampling",
        dict(zip(ALGORITHMS, ("deterministic", "with fresh noise"), strict=True)),
    )  # fmt: skip
    guidance: float = number("Guidance", "Scale of classifier-free guidance; 1 is none.", "sampling", 1, 20)
    seed: int = whole("Seed", "On one machine, the same seed and settings give the same numbers.", "basic", 0, 2**31 - 1, 0)
    device: str = choice(
        "Device", "auto uses the GPU if there is one.", "expert", dict.fromkeys(("auto", "cpu", "cuda"), ""), "auto"
    )

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            if getattr(self, name) is not OPEN or DEFAULTS[name] is not OPEN:
                object.__setattr__(self, name, validate(field, getattr(self, name)))
        if None not in (self.t_min, self.t_max) and self.t_min >= self.t_max:
            raise UserError(f"The first timestep ({self.t_min}) must be smaller than the last ({self.t_max}).")
        if self.optimizer == "one-step" and self.gamma == 0:
            raise UserError("With gamma 0 the one-step solution is infinitely long; choose a larger gamma.")
        if self.method and self.optimizer and (why := METHODS[self.method].refuses(self.optimizer)):
            raise UserError(f"Method {self.method} {why}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """A recipe from parsed JSON; missing keys take their defaults.

        Raises:
            UserError: for an unknown key, and as on construction.
        """
        values = {name: value for name, value in values.items() if name not in RETIRED or value != RETIRED[name]}
        for name in sorted(set(values) - set(FIELDS)):
            if name in RETIRED:
                raise UserError(f"A recipe no longer has '{name}'; leave it out: it is always {RETIRED[name]!r} now.")
            raise UserError(f"A recipe has no '{name}'; its fields are {', '.join(FIELDS)}.")
        return cls(**values)

    @property
    def how(self) -> HowToSample:
        """The settings of the sampler."""
        return HowToSample(self.sampler_steps, self.sampler, self.guidance)

    @property
    def request(self) -> ConceptRequest:
        """What the user asks to forget and to keep, and who judges it."""
        prompts = [" ".join(prompt.split()) for prompt in self.keep.replace("\n", ";").split(";")]
        return ConceptRequest(self.forget, tuple(filter(None, prompts)), self.pictures, self.judge)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


FIELDS: dict[str, Field] = {field.name: field.metadata["field"] for field in dataclasses.fields(Recipe)}
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Recipe)}
DEPENDENT = tuple(name for name, default in DEFAULTS.items() if default is OPEN)  # defaults depend on model and method


def validate(field: Field, value: Any) -> Any:
    """A value converted to the type of its field, text without surrounding space.

    Raises:
        UserError: if the field does not take the value; the sentence names the bounds or options.
    """
    label = field.label[0].upper() + field.label[1:]
    if field.type is str:
        if not isinstance(value, str) or not (value.strip() or field.optional):
            raise UserError(f"{label} must be a word, not {quoted(value)}.")
        if field.options and value not in field.options:
            raise UserError(f"{label} must be one of {', '.join(field.options)}, not {quoted(value)}.")
        if len(value) > LONGEST:
            raise UserError(f"{label} must have at most {LONGEST:,} letters, not {len(value):,}.")
        if any("\ud800" <= letter <= "\udfff" for letter in value):  # half of a letter, or a byte of a name that is no UTF-8
            raise UserError(f"{label} holds something that is no letter: {quoted(value)}; write it anew, or rename the file.")
        return value.strip()
    is_whole = field.type is int
    bounds = f"a {'whole ' if is_whole else ''}number from {field.low:,} to {field.high:,}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison also refuses NaN and infinity, so that int() cannot raise.
    if not is_number or not field.low <= value <= field.high or (is_whole and value != int(value)):
        raise UserError(f"{label} must be {bounds}, {'and nothing is given' if value is None else f'not {quoted(value)}'}.")
    return field.type(value)


# --- defaults of the open fields, by kind of model and by method ---

PROMPTED = (SMALL, FULL_SIZE)  # kinds of models that take prompts
PROMPTED_DEFAULTS = {
    "method": "vdu-f", "posterior": "checkpoints", "t_min": 300, "t_max": 999, "parameters": "cross-attention",
    "sampler": "ode", "max_damage": 0.4,
}  # fmt: skip
BY_KIND: dict[str, dict[str, float | int | str]] = {
    UNCONDITIONAL: {
        "method": "vdu-f", "posterior": "checkpoints", "t_min": 425, "t_max": 950, "parameters": "all", "replay": 1024,
        "preview_every": 40, "sampler": "sde", "sampler_steps": 15, "guidance": 1.0, "batch_size": 24, "samples": 256,
        "target": 0.006, "max_damage": 0.4,
    },
    PHOTOGRAPHS: {
        "method": "vdu-f", "posterior": "layers", "t_min": 425, "t_max": 950, "parameters": "all", "replay": 360,
        "preview_every": 20, "sampler": "ode", "sampler_steps": 15, "guidance": 1.0, "batch_size": 12, "samples": 120,
        "target": 0.01, "max_damage": 0.6,
    },
    SMALL: PROMPTED_DEFAULTS | {
        "replay": 360, "preview_every": 30, "sampler_steps": 15, "guidance": 3.0, "batch_size": 24, "samples": 256,
        "target": 0.006,
    },
    FULL_SIZE: PROMPTED_DEFAULTS | {
        "replay": 48, "preview_every": 50, "sampler_steps": 20, "guidance": 7.5, "batch_size": 4, "samples": 50,
        "target": 0.02,
    },
}  # fmt: skip


NEEDED = ("gamma", "reach", "optimizer", "step_size", "steps")  # fields that only a method can give a default


def check_defaults(methods: Mapping[str, Method]) -> None:
    """Check the defaults that methods declare.

    Raises:
        ValueError: if a default is of no field, or a field in `NEEDED` has no default; the sentence names the file.
    """
    for name, method in methods.items():
        for what, defaults in (*method.defaults.items(), *method.by_model.items()):
            unknown = set(defaults) - set(FIELDS)
            missing = set(NEEDED) - set(defaults) if what in method.defaults else set()
            for wrong, why in ((unknown, "which no recipe has"), (missing, "which must have a default")):
                if wrong:
                    file = f"vdu/methods/{name.replace('-', '_')}.py"
                    raise ValueError(f"{file}: in the defaults for '{what}': {', '.join(sorted(wrong))}, {why}")


check_defaults(METHODS)

# Fields that some method sets, which a change of method resets.
BY_METHOD = tuple(
    name
    for name in FIELDS
    if any(
        name in defaults for method in METHODS.values() for defaults in (*method.defaults.values(), *method.by_model.values())
    )
)


def defaults_of(kind: str, method: str, model: str = "") -> dict[str, Any]:
    """Field -> default, for a method on a kind of model, or on a model of the catalog, whose own defaults come first.

    Raises:
        UserError: if the method cannot unlearn this kind of model.
    """
    chosen = METHODS[method]
    if kind not in chosen.defaults:
        fitting = ", ".join(name for name, other in METHODS.items() if kind in other.defaults)
        if any((kind in PROMPTED) == (other in PROMPTED) for other in chosen.defaults):
            raise UserError(f"Method {method} has no settings for models of kind '{kind}'; choose one of {fitting}.")
        what = "takes prompts" if kind in PROMPTED else "takes no prompts"
        raise UserError(f"Method {method} cannot be used with a model that {what}; choose one of {fitting}.")
    return BY_KIND[kind] | chosen.defaults[kind] | chosen.by_model.get(model, {})


def resolve(recipe: Recipe, kind: str) -> Recipe:
    """The recipe with every open field filled for a kind of model.

    Several classes of drawings at once get as many steps each as one does (docs/method.md, section 15). A user's own concept
    is one, even with commas in its name.

    Raises:
        UserError: if the method cannot unlearn this kind of model, or the values contradict each other.
    """
    method = recipe.method if recipe.method is not OPEN else BY_KIND[kind]["method"]
    filled = {name: value for name, value in defaults_of(kind, method, recipe.model).items() if getattr(recipe, name) is OPEN}
    if kind == UNCONDITIONAL and "steps" in filled and (recipe.optimizer or filled["optimizer"]) not in AT_ONCE:
        own = recipe.judge or (recipe.pictures and recipe.model not in CATALOG)  # one thing, whatever its name
        filled["steps"] = min(int(FIELDS["steps"].high), filled["steps"] * (1 if own else len(named_in(recipe.forget))))
    return dataclasses.replace(recipe, method=method, **{name: value for name, value in filled.items() if name != "method"})

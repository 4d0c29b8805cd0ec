"""Recipe: every choice a user can make, with its bounds, validated once, to and from JSON. It reads no file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vdu.concepts.base import ConceptRequest
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL
from vdu.optimizers import OPTIMIZERS
from vdu.posterior import POSTERIORS
from vdu.sampling import ALGORITHMS, HowToSample

OPEN: Any = None  # a field that the method and the kind of model decide, see `resolve`
LONGEST = 2000  # letters of a text
# Fields of older recipes that had one useful value -> that value: a recipe that has it is still read.
RETIRED = {"weighting": "simple", "patience": 2}

Group = Literal["basic", "method", "sampling", "expert"]


@dataclass(frozen=True)
class Field:
    """What one field of a recipe may be: page, command line, API and docs are made from it.

    Attributes:
        label: its name on the page.
        help: one line for a newcomer, at most 90 characters.
        group: where the page shows it.
        type: str, int or float.
        low, high: inclusive bounds of a number.
        options: allowed values of a text -> one line on each, where they are fixed.
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
    """A field that holds any text."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, str, optional=optional)})


def choice(label: str, help: str, group: Group, options: Mapping[str, str], default: str = OPEN) -> Any:
    """A field that holds one of some words."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, str, options=options)})


def whole(label: str, help: str, group: Group, low: int, high: int, default: int = OPEN) -> Any:
    """A field that holds a whole number."""
    return dataclasses.field(default=default, metadata={"field": Field(label, help, group, int, low, high)})


def number(label: str, help: str, group: Group, low: float, high: float) -> Any:
    """A field that holds a number."""
    return dataclasses.field(default=OPEN, metadata={"field": Field(label, help, group, float, low, high)})


@dataclass(frozen=True)
class Recipe:
    """One run's choices; `FIELDS` explains and bounds each of them. `resolve` fills what is left open.

    Raises:
        UserError: on construction, for a value of the wrong type or out of bounds.
    """

    model: str = text("Model", "A catalog name, or the folder or hub id of a diffusers model.", default="mnist-ddpm")
    forget: str = text("Forget", "A class of the model, or a prompt with the words to forget in [brackets].", default="3")
    keep: str = text(
        "Keep", "Prompts to keep, one per line or with ; between; without prompts a folder of pictures.", "basic", "", True
    )
    pictures: str = text(
        "Pictures", "A folder, zip or hub data set of pictures of what to forget; tiny-sd has only its own.", "basic", "", True
    )
    judge: str = text(
        "Judge", "A CLIP model (hub id or folder), nudenet, or pictures: one fitted on your pictures.", "basic", "", True
    )
    method: str = choice(
        "Method", "How the model is made to forget.", "basic", {name: method.title for name, method in METHODS.items()}
    )
    gamma: float = number(
        "gamma", "Weight of stability against plasticity: lower forgets harder, 1 would change nothing.", "method", 0, 0.9999
    )
    reach: float = number(
        "Reach", "How many times the method's correction is taken; of vdu-f with prompts, the odds in it.", "method", 0, 10
    )
    steps: int = whole("Steps", "The most steps of a run; it stops earlier once the class is gone.", "method", 1, 2000)
    step_size: float = number("Step size", "Length of a step; the optimizer says in which unit.", "method", 1e-6, 10)
    optimizer: str = choice("Optimizer", "How a step is taken.", "expert", OPTIMIZERS)
    posterior: str = choice(
        "Posterior", "How mu* and sigma*² are estimated, where the method or optimizer needs them.", "expert",
        {name: words for name, (_, words) in POSTERIORS.items()},
    )  # fmt: skip
    parameters: str = choice(
        "Parameters", "Which parameters of the network are trained.", "expert",
        {"all": "all", "cross-attention": "those that read the prompt", "no-cross-attention": "all others"},
    )  # fmt: skip
    t_min: int = whole("First timestep", "Forget images are noised to timesteps from here …", "expert", 0, 998)
    t_max: int = whole("Last timestep", "… to here; the class of an image is decided around t = 400–800.", "expert", 1, 999)
    batch_size: int = whole("Batch size", "Forget images per step; vdu-f adds as many replayed images.", "expert", 1, 256)
    forget_source: str = choice(
        "Forget set from", "Where forget images come from.", "expert",
        {"real": "pictures of the class", "model": "no real picture, only what the model draws of the class"}, "real",
    )  # fmt: skip
    forget_images: int = whole("Forget images", "How many real pictures of the class the method sees.", "basic", 1, 500, 500)
    replay: int = whole(
        "Replay", "Images drawn from the frozen model first, to steer by and to stay close to.", "expert", 24, 2048
    )
    preview_every: int = whole("Preview every", "Steps between two previews.", "expert", 1, 500)
    target: float = number(
        "Target forget rate", "The run stops at this estimate; then the change is scaled to just meet it.", "method", 0, 1
    )
    max_damage: float = number(
        "Damage allowed", "Share of kept pictures that may turn into something else; more forgets harder.", "basic", 0, 1
    )
    samples: int = whole("Samples", "Images drawn before and after to measure with.", "sampling", 50, 20000)
    sampler_steps: int = whole("Sampler steps", "Network evaluations per image.", "sampling", 2, 100)
    sampler: str = choice(
        "Sampler", "DPM-Solver++; sde adds fresh noise at every step and wants 15 steps.", "sampling",
        dict(zip(ALGORITHMS, ("deterministic", "with fresh noise"), strict=True)),
    )  # fmt: skip
    guidance: float = number("Guidance", "Scale of classifier-free guidance with prompts; 1 is none.", "sampling", 1, 20)
    seed: int = whole("Seed", "Same recipe, same machine, same seed: same numbers.", "basic", 0, 2**31 - 1, 0)
    device: str = choice(
        "Device", "auto takes the GPU where there is one.", "expert", dict.fromkeys(("auto", "cpu", "cuda"), ""), "auto"
    )

    def __post_init__(self) -> None:
        for name, field in FIELDS.items():
            if getattr(self, name) is not OPEN or DEFAULTS[name] is not OPEN:
                object.__setattr__(self, name, checked(field, getattr(self, name)))
        if None not in (self.t_min, self.t_max) and self.t_min >= self.t_max:
            raise UserError(f"The first timestep ({self.t_min}) must lie below the last ({self.t_max}).")
        if self.optimizer == "one-step" and self.gamma == 0:
            raise UserError("With gamma 0 nothing holds the one-step solution, and it has no length; choose a larger gamma.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """A recipe from parsed JSON; missing keys take their default, unknown keys are refused."""
        values = {name: value for name, value in values.items() if name not in RETIRED or value != RETIRED[name]}
        for name in sorted(set(values) - set(FIELDS)):
            if name in RETIRED:
                raise UserError(f"A recipe no longer has '{name}'; leave it out, as '{RETIRED[name]}' is what remains.")
            raise UserError(f"A recipe has no '{name}'; it knows {', '.join(FIELDS)}.")
        return cls(**values)

    @property
    def how(self) -> HowToSample:
        """How images are drawn."""
        return HowToSample(self.sampler_steps, self.sampler, self.guidance)

    @property
    def request(self) -> ConceptRequest:
        """What is said of the concept."""
        prompts = [" ".join(prompt.split()) for prompt in self.keep.replace("\n", ";").split(";")]
        return ConceptRequest(self.forget, tuple(filter(None, prompts)), self.pictures, self.judge)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


FIELDS: dict[str, Field] = {field.name: field.metadata["field"] for field in dataclasses.fields(Recipe)}
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Recipe)}
DEPENDENT = tuple(name for name, default in DEFAULTS.items() if default is OPEN)  # fields that the model or method decides


def checked(field: Field, value: Any) -> Any:
    """A value as the type of its field.

    Raises:
        UserError: that names the bounds.
    """
    if field.type is str:
        if not isinstance(value, str) or not (value.strip() or field.optional):
            raise UserError(f"{field.label} must be a word, not {value!r}.")
        if field.options and value not in field.options:
            raise UserError(f"{field.label} must be one of {', '.join(field.options)}, not '{value}'.")
        if len(value) > LONGEST:
            raise UserError(f"{field.label} must have at most {LONGEST:,} letters, not {len(value):,}.")
        return value.strip()
    is_whole = field.type is int
    bounds = f"a {'whole ' if is_whole else ''}number from {field.low:,g} to {field.high:,g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison also refuses NaN, and infinity before int() would stumble over it.
    if not is_number or not field.low <= value <= field.high or (is_whole and value != int(value)):
        raise UserError(f"{field.label} must be {bounds}, not {value!r}.")
    return field.type(value)


# --- what a recipe leaves open: decided by the kind of model, and by the method on that kind ---

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
        "method": "vdu", "posterior": "layers", "t_min": 425, "t_max": 950, "parameters": "all", "replay": 360,
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


BY_METHOD = ("gamma", "reach", "optimizer", "step_size", "steps")  # fields that a change of method resets


def defaults_of(kind: str, method: str) -> dict[str, Any]:
    """The defaults of a method on a kind of model.

    Raises:
        UserError: if the method does not fit the kind.
    """
    chosen = METHODS[method]
    if kind not in chosen.defaults:
        fitting = ", ".join(name for name, other in METHODS.items() if kind in other.defaults)
        what = "takes prompts" if kind in PROMPTED else "draws without prompts"
        raise UserError(f"Method {method} cannot be used with a model that {what}; choose one of {fitting}.")
    return BY_KIND[kind] | chosen.defaults[kind]


def resolve(recipe: Recipe, kind: str) -> Recipe:
    """The recipe with every open field filled for a kind of model.

    Raises:
        UserError: if the method does not fit the kind, or the values together make no sense.
    """
    method = recipe.method if recipe.method is not OPEN else BY_KIND[kind]["method"]
    filled = {name: value for name, value in defaults_of(kind, method).items() if getattr(recipe, name) is OPEN}
    return dataclasses.replace(recipe, method=method, **{name: value for name, value in filled.items() if name != "method"})

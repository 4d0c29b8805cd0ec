"""Recipe: every choice a user can make, with its bounds, validated once, to and from JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vdu.catalog import kind_of
from vdu.entries import Words
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.models import FULL_SIZE, PARAMETERS, PHOTOGRAPHS, SMALL, UNCONDITIONAL
from vdu.posterior import POSTERIORS
from vdu.sampling import ALGORITHMS, HowToSample

OPEN: Any = None  # the default of a field whose good value depends on the method and the model
LONGEST = 2000  # letters of a text
# What suits each kind of model, whatever the method, and which method that is.
WORDED = {
    "method": "vdu-f", "posterior": "checkpoints", "t_min": 300, "t_max": 999, "parameters": "cross-attention",
    "sampler": "ode", "max_damage": 0.4,
}  # fmt: skip
BY_MODEL: dict[str, dict[str, float | int | str]] = {
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
    SMALL: WORDED | {
        "replay": 360, "preview_every": 30, "sampler_steps": 15, "guidance": 3.0, "batch_size": 24, "samples": 256,
        "target": 0.006,
    },
    FULL_SIZE: WORDED | {
        "replay": 48, "preview_every": 50, "sampler_steps": 20, "guidance": 7.5, "batch_size": 4, "samples": 50,
        "target": 0.02,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What one field of a recipe may be.

    Attributes:
        label: its name on the page.
        explanation: one line for a newcomer.
        low, high: inclusive bounds of a number.
        options: allowed values of a string, where they are fixed.
        optional: whether a string may be empty.
    """

    label: str
    explanation: str
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()
    optional: bool = False


CHOICES: dict[str, Choice] = {
    "model": Choice("Model", "A name from the catalog, or the local folder or hub id of a DDPM or a Stable Diffusion v1."),
    "forget": Choice(
        "Forget",
        "What the model shall no longer draw: a class of its, or for a model of your own a prompt; in brackets the words of "
        "it to forget, as in: a painting [by Van Gogh].",
    ),
    "keep": Choice(
        "Keep",
        "Text to image, a model of your own: prompts, one a line or with ; between, that shall stay. Without words, where the "
        "judge is fitted on your pictures: a folder of pictures of other things.",
        optional=True,
    ),
    "pictures": Choice(
        "Pictures",
        "A folder of 1 to 500 pictures of what to forget, or the hub id of a data set with such a class, in place of those in "
        "the box; for tiny-sd there are only those.",
        optional=True,
    ),
    "judge": Choice(
        "Judge",
        "Text to image, a model of your own: who sees what it draws. A CLIP model (hub id or folder), or nudenet. Without "
        "words: pictures, for a judge fitted on yours.",
        optional=True,
    ),
    "method": Choice(
        "Method",
        "vdu-f: stability in function space. vdu: the paper's loss, stability in parameter space. neggrad: ascent alone.",
        options=tuple(METHODS),
    ),
    "gamma": Choice(
        "gamma", "Weight of stability against plasticity: lower forgets harder, 1 would change nothing.", 0, 0.9999
    ),
    "reach": Choice(
        "Reach",
        "vdu-f: how many times Bayes' correction is taken on forget images; for models that take words, the odds in it.",
        0,
        10,
    ),
    "steps": Choice("Steps", "The most steps a run may take; it stops earlier once the class is gone.", 1, 2000),
    "step_size": Choice("Step size", "Length of a step: see the optimizer for its unit.", 1e-6, 10),
    "optimizer": Choice(
        "Optimizer",
        "natural: along sigma*² times the gradient, each step an equal length in posterior standard deviations. "
        "adam, sgd: step size is the learning rate. one-step: the loss linearised at mu*, solved with one gradient averaged "
        "over all steps; step size is not used.",
        options=("natural", "adam", "sgd", "one-step"),
    ),
    "posterior": Choice(
        "Posterior",
        "How mu* and sigma*² are estimated, where they are needed (vdu; natural). "
        + " ".join(f"{name}: {words}." for name, (_, words) in POSTERIORS.items()),
        options=tuple(POSTERIORS),
    ),
    "parameters": Choice(
        "Parameters",
        "Which of the network's parameters are trained: all, or those that listen to the prompt.",
        options=tuple(PARAMETERS),
    ),
    "t_min": Choice("First timestep", "Forget images are noised to timesteps from here …", 0, 998),
    "t_max": Choice("Last timestep", "… to here; which class an image becomes is decided around t = 400–800.", 1, 999),
    "weighting": Choice(
        "Weight over t", "simple: C_t = 1. bound: C_t as in the variational bound.", options=("simple", "bound")
    ),
    "batch_size": Choice("Batch size", "Forget images a step, and as many replayed images for vdu-f.", 1, 256),
    "forget_source": Choice(
        "Forget set from",
        "real: pictures of the class. model: no real picture at all, only what the model itself draws of the class.",
        options=("real", "model"),
    ),
    "forget_images": Choice("Forget images", "How many real pictures of the class the method may see.", 1, 500),
    "replay": Choice(
        "Replay", "Images drawn from the frozen model first, to steer by and (vdu-f) to stay close to.", 24, 2048
    ),
    "preview_every": Choice("Preview every", "Steps between two looks at what the model draws.", 1, 500),
    "target": Choice(
        "Target forget rate",
        "Stop when the estimated forget rate is at or below this; then the change is scaled to just meet it.",
        0,
        1,
    ),
    "patience": Choice("Patience", "Previews in a row that must meet the target.", 1, 20),
    "max_damage": Choice(
        "Damage allowed",
        "Share of the kept pictures that may turn into something else. Less keeps the rest safer, more forgets harder.",
        0,
        1,
    ),
    "samples": Choice("Samples", "Images drawn before and after to measure with.", 50, 20000),
    "sampler_steps": Choice("Sampler steps", "Network evaluations an image.", 2, 100),
    "sampler": Choice(
        "Sampler",
        "DPM-Solver++. sde adds fresh noise at every step, which clears errors away; it wants 15 steps.",
        options=tuple(ALGORITHMS),
    ),
    "guidance": Choice(
        "Guidance",
        "Text to image: how many times the difference that the words make is taken; 1 is once. Without words it does nothing.",
        1,
        20,
    ),
    "seed": Choice("Seed", "Same recipe, same machine, same seed: same numbers.", 0, 2**31 - 1),
    "device": Choice("Device", "auto takes the GPU where there is one.", options=("auto", "cpu", "cuda")),
}


@dataclass(frozen=True)
class Recipe:
    """One run's choices; `CHOICES` explains and bounds each of them. What is left open, method and model fill in.

    Raises:
        UserError: on construction, for a value of the wrong type or out of bounds.
    """

    model: str = "mnist-ddpm"
    forget: str = "3"
    keep: str = ""
    pictures: str = ""
    judge: str = ""
    method: str = OPEN
    gamma: float = OPEN
    reach: float = OPEN
    steps: int = OPEN
    step_size: float = OPEN
    optimizer: str = OPEN
    posterior: str = OPEN
    parameters: str = OPEN
    t_min: int = OPEN
    t_max: int = OPEN
    weighting: str = "simple"
    batch_size: int = OPEN
    forget_source: str = "real"
    forget_images: int = 500
    replay: int = OPEN
    preview_every: int = OPEN
    target: float = OPEN
    patience: int = 2
    max_damage: float = OPEN
    samples: int = OPEN
    sampler_steps: int = OPEN
    sampler: str = OPEN
    guidance: float = OPEN
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", checked("model", self.model, str))
        kind = kind_of(self.model)
        method = BY_MODEL[kind]["method"] if self.method is OPEN else checked("method", self.method, str)
        for name, value in (BY_MODEL[kind] | METHODS[method].defaults[kind]).items():
            if getattr(self, name) is OPEN:
                object.__setattr__(self, name, value)
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), field.type))
        if self.t_min >= self.t_max:
            raise UserError(f"The first timestep ({self.t_min}) must lie below the last ({self.t_max}).")
        if self.optimizer == "one-step" and self.gamma == 0:
            raise UserError("With gamma 0 nothing holds the one-step solution, and it has no length; choose a larger gamma.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """A recipe from parsed JSON; missing keys take their default, unknown keys are refused."""
        unknown = sorted(set(values) - set(CHOICES))
        if unknown:
            raise UserError(f"A recipe has no '{unknown[0]}'; it knows {', '.join(CHOICES)}.")
        return cls(**values)

    @property
    def how(self) -> HowToSample:
        """How images are drawn."""
        return HowToSample(self.sampler_steps, self.sampler, self.guidance)

    @property
    def words(self) -> Words:
        """What is said of the concept."""
        prompts = [" ".join(prompt.split()) for prompt in self.keep.replace("\n", ";").split(";")]
        return Words(self.forget, tuple(filter(None, prompts)), self.pictures, self.judge)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


BY_METHOD = tuple(next(iter(METHODS.values())).defaults[UNCONDITIONAL])  # every method has defaults for the same
DEPENDENT = tuple(field.name for field in dataclasses.fields(Recipe) if field.default is OPEN)


def checked(name: str, value: Any, kind: Any) -> Any:
    """`value` as the type of the field `name`, or a UserError that names the bounds."""
    choice = CHOICES[name]
    if kind is str:
        if not isinstance(value, str) or not (value.strip() or choice.optional):
            raise UserError(f"{choice.label} must be a word, not {value!r}.")
        if choice.options and value not in choice.options:
            raise UserError(f"{choice.label} must be one of {', '.join(choice.options)}, not '{value}'.")
        if len(value) > LONGEST:
            raise UserError(f"{choice.label} must have at most {LONGEST:,} letters, not {len(value):,}.")
        return value.strip()
    whole = kind is int
    bounds = f"a {'whole ' if whole else ''}number from {choice.low:,g} to {choice.high:,g}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison also refuses NaN, and infinity before int() would stumble over it.
    if not number or not choice.low <= value <= choice.high or (whole and value != int(value)):
        raise UserError(f"{choice.label} must be {bounds}, not {value!r}.")
    return int(value) if whole else float(value)

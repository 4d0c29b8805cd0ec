"""Diffusion models behind one interface, `Diffusion`. A module here that declares FAMILY adds a family of models.

model = load_model(Path("assets/mnist-ddpm"))
noise = model.predict_noise(states, t, model.conditions([None] * len(t)))
"""

from pathlib import Path

from vdu.errors import UserError
from vdu.models.base import (
    FULL_SIZE,
    KINDS,
    LARGE,
    NO_CONDITION,
    PARAMETERS,
    PHOTOGRAPHS,
    SMALL,
    UNCONDITIONAL,
    Condition,
    Diffusion,
    Model,
    from_uint8,
    is_large,
    part_of,
    to_uint8,
)
from vdu.models.ddpm import DDPM
from vdu.models.devices import autocast, has_bfloat16, pick_device
from vdu.models.loading import Family, load, read_index
from vdu.models.schedule import TIMESTEPS
from vdu.models.stable_diffusion import StableDiffusion
from vdu.reading import read_json
from vdu.registry import collect

# name of a diffusers pipeline class in model_index.json -> the family that loads it
FAMILIES: dict[str, Family] = {
    pipeline: family for _, family in collect("vdu.models", "FAMILY") for pipeline in family.PIPELINES
}


def family_of(folder: Path) -> Family:
    """The family of the model in a diffusers folder; reads model_index.json alone.

    Raises:
        UserError: if the folder holds no model, or a model of an unknown family.
    """
    name = read_index(folder)["_class_name"]
    if name not in FAMILIES:
        raise UserError(f"'{folder}' is a {name}, which cannot be unlearned; choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def kind_in(folder: Path) -> str:
    """The kind, one of `KINDS`, of the model in a diffusers folder; reads configurations alone.

    Raises:
        UserError: if the folder holds no model, or a model of an unknown family.
        OSError, ValueError, TypeError, KeyError: if the network's configuration cannot be read.
    """
    return family_of(folder).kind(read_json(part_of(folder, "unet") / "config.json"))


def load_model(folder: Path, device: str = "cpu", large: float = LARGE) -> Diffusion:
    """Load the model in a plain diffusers folder.

    The network and noise schedule of a DDPM may also lie beside its model_index.json, as in the first DDPMs on the hub.

    Args:
        folder: a folder with model_index.json, as `save_pretrained` writes it.
        device: "cpu" or "cuda".
        large: latents of at least this height and width make a text-to-image model use less memory.

    Raises:
        UserError: if the folder does not hold such a model, holds its weights only in a format that needs unpickling, or
            holds a model that cannot be unlearned.
    """
    return load(family_of(folder), folder, device, large)


__all__ = [
    "DDPM",
    "FAMILIES",
    "FULL_SIZE",
    "KINDS",
    "LARGE",
    "NO_CONDITION",
    "PARAMETERS",
    "PHOTOGRAPHS",
    "SMALL",
    "TIMESTEPS",
    "UNCONDITIONAL",
    "Condition",
    "Diffusion",
    "Family",
    "Model",
    "StableDiffusion",
    "autocast",
    "family_of",
    "from_uint8",
    "has_bfloat16",
    "is_large",
    "kind_in",
    "load_model",
    "part_of",
    "pick_device",
    "to_uint8",
]

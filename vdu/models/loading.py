"""Load a plain diffusers folder in small steps, and refuse in one sentence a model that cannot be unlearned."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import DDPMScheduler, ModelMixin
from safetensors import SafetensorError
from transformers import PreTrainedModel

from vdu.errors import UserError
from vdu.models.base import LARGE, TIMESTEPS, WEIGHTS, Diffusion, first_line, part_of
from vdu.models.digest import check_finite, folder_digest

Family = type[Diffusion]
Loaded = TypeVar("Loaded", bound=Diffusion)

# Schedulers with DDPM's noise schedule; their way to sample does not matter here.
COMPATIBLE_SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
)
PREDICTIONS = ("epsilon", "v_prediction")  # supported outputs of a network
UNREADABLE = (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError, SafetensorError)


def load(family: type[Loaded], folder: Path, device: str = "cpu", large: float = LARGE) -> Loaded:
    """Load a model of a known family from a folder; see `vdu.models.load_model`.

    Raises:
        UserError: if the folder does not hold such a model, or the model cannot be unlearned.
    """
    index = read_index(folder)
    find_weights(family, folder, index["_class_name"])
    parts, scheduler = read_parts(family, folder)
    check_schedule(folder, index["scheduler"][1], scheduler)
    if reason := family.misfit(parts):
        raise UserError(f"'{folder}' cannot be unlearned: {reason}.")
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            check_finite(f"the {name} of '{folder}'", part)
    options = {name: index.get(name, default) for name, default in family.OPTIONS.items()}
    placed = family.place(parts, device, large)
    digest = folder_digest(folder, (*family.PARTS, "scheduler"))
    return family(scheduler=scheduler, device=device, digest=digest, folder=folder, **placed, **options)


def read_index(folder: Path) -> dict[str, Any]:
    """Read a folder's model_index.json, which names at least the pipeline and the scheduler.

    Raises:
        UserError: if it is missing or cannot be read.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UserError(f"'{folder}' is not a diffusers model folder: it has no model_index.json.")
    try:
        index = json.loads(path.read_text())
        _ = index["_class_name"], index["scheduler"][1]
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"'{path}' could not be read: {first_line(error)}") from error
    return index


def weight_files(family: Family) -> tuple[str, ...]:
    """All paths of weight files that a model of a family may have, in the order of its parts."""
    paths = [f"{part}/{weight_name(reader)}" for part, reader in family.PARTS.items() if weight_name(reader)]
    return (*paths, *([WEIGHTS] if family.PART_AT_ROOT else ()))


def weight_name(reader: type) -> str | None:
    """The name of a part's weight file in its library; None for a part without weights."""
    if issubclass(reader, ModelMixin):
        return WEIGHTS
    return "model.safetensors" if issubclass(reader, PreTrainedModel) else None


def find_weights(family: Family, folder: Path, pipeline: str) -> list[Path]:
    """The weight files of all parts.

    Raises:
        UserError: if one is missing; the sentence says how to make it.
    """
    paths = [folder / path for path in weight_files(family)]
    if family.PART_AT_ROOT:
        paths = [part_of(folder, "unet") / WEIGHTS]
    for path in paths:
        if not path.is_file():
            there, options, saving = instead_of(path)
            raise UserError(
                f"'{folder}' has no {path.relative_to(folder)}{there} with diffusers' {pipeline}.from_pretrained('{folder}'"
                f"{options}).save_pretrained('NEW'{saving}), and give the folder NEW."
            )
    return paths


def instead_of(path: Path) -> tuple[str, str, str]:
    """(what takes the place of a missing weight file, in words; diffusers' arguments to load it; to save it)."""
    if path.with_name(path.name + ".index.json").is_file():
        return ", only pieces of it; join them", "", ", max_shard_size='1TB'"
    for other in sorted(path.parent.glob(f"{path.stem}.*{path.suffix}")):
        variant = other.name.removeprefix(path.stem + ".").removesuffix(path.suffix)
        return f", only a variant, {other.name}; save it anew", f", variant='{variant}'", ""
    return ", and weights in other formats are not loaded, as they may run code; if you trust them, save them anew", "", ""


def read_parts(family: Family, folder: Path) -> tuple[dict[str, Any], DDPMScheduler]:
    """All parts of a model, by name, and its noise schedule.

    Raises:
        UserError: if one cannot be read, or a weight file lacks parameters, which the libraries would fill at random.
    """
    parts, missing = {}, {}
    try:
        for name, reader in family.PARTS.items():
            where = part_of(folder, name) if family.PART_AT_ROOT else folder / name
            parts[name], missing[name] = read_part(reader, where)
        scheduler = DDPMScheduler.from_pretrained(part_of(folder, "scheduler"), local_files_only=True)
    except UNREADABLE as error:
        raise UserError(f"'{folder}' could not be read as {family.TITLE}: {first_line(error)}") from error
    for name, absent in missing.items():
        if absent:
            raise UserError(f"'{folder}' lacks {len(absent)} of the parameters of its {name}, such as {min(absent)}.")
    return parts, scheduler


def read_part(reader: type, folder: Path) -> tuple[Any, list[str]]:
    """One part, and the names of parameters that its weight file lacks."""
    if issubclass(reader, ModelMixin):  # the last argument avoids advice to install accelerate
        part, info = reader.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
        return part, info["missing_keys"]
    if issubclass(reader, PreTrainedModel):
        part, info = reader.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
        return part, info["missing_keys"]
    return reader.from_pretrained(folder, local_files_only=True), []


def check_schedule(folder: Path, name: str, scheduler: DDPMScheduler) -> None:
    """Refuse models without DDPM's noise schedule.

    Raises:
        UserError: for an unsupported scheduler, prediction or number of timesteps.
    """
    if name not in COMPATIBLE_SCHEDULERS:
        raise UserError(f"'{folder}' has a {name}, whose noise schedule is not DDPM's; it cannot be unlearned.")
    if (predicts := scheduler.config.prediction_type) not in PREDICTIONS:
        raise UserError(
            f"'{folder}' predicts '{predicts}'; only models that predict {' or '.join(PREDICTIONS)} can be unlearned."
        )
    if (steps := scheduler.config.num_train_timesteps) != TIMESTEPS:
        raise UserError(f"'{folder}' has {steps:,} timesteps; only models with {TIMESTEPS:,} can be unlearned.")

"""Load a plain diffusers folder in small steps, and refuse in one sentence a model that cannot be unlearned."""

import importlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from vdu.errors import UserError, first_line
from vdu.models.base import LARGE, Diffusion, part_of
from vdu.models.digest import check_finite, folder_digest
from vdu.models.files import check_weights, components, read_settings
from vdu.models.schedule import read_schedule
from vdu.reading import read_json

Family = type[Diffusion]
Loaded = TypeVar("Loaded", bound=Diffusion)

USES = {"text_encoder": "encodes its words with", "tokenizer": "splits prompts into words with"}  # part -> what it is for
IMPORTING = threading.Lock()
LAYERS = ("layers_per_block", "transformer_layers_per_block", "num_hidden_layers")  # numbers of layers in a config.json
UNREADABLE = (OSError, AttributeError, KeyError, IndexError, ValueError, TypeError, RuntimeError, SafetensorError)


def load(family: type[Loaded], folder: Path, device: str = "cpu", large: float = LARGE) -> Loaded:
    """Load a model of a known family from a folder; see `vdu.models.load_model`.

    Raises:
        UserError: if the folder does not hold such a model, or the model cannot be unlearned.
    """
    import_libraries()
    from transformers import PreTrainedTokenizerBase

    index = read_index(folder)
    readers = {name: reader_of(family, folder, index, name) for name in family.PARTS}
    files = {
        name: check_weights(part_folder(family, folder, name), folder, remedy(folder, index["_class_name"]))
        for name, reader in readers.items()
        if not issubclass(reader, PreTrainedTokenizerBase)
    }
    for name, (_, weights) in files.items():
        check_config(part_folder(family, folder, name) / "config.json", tensors_in(weights))
    parts = read_parts(family, folder, readers, {name: variant for name, (variant, _) in files.items()})
    try:
        scheduler = read_schedule(folder, index["scheduler"][1], part_of(folder, "scheduler"), index["_class_name"])
    except UserError:
        raise
    except UNREADABLE as error:  # NotImplementedError, for an unknown beta_schedule, is a RuntimeError
        raise UserError(f"The noise schedule of '{folder}' could not be read: {first_line(error)}") from error
    if reason := family.misfit(parts):
        raise UserError(f"'{folder}' cannot be unlearned: {reason}.")
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            check_finite(f"the {name} of '{folder}'", part)
    options = {name: index.get(name, default) for name, default in family.OPTIONS.items()}
    placed = family.place(parts, device, large)
    variant, weights = files["unet"]
    digest = folder_digest(folder, (*family.PARTS, "scheduler"))
    tensors = tuple(path for path in weights if path.suffix == ".safetensors")
    return family(
        scheduler=scheduler, device=device, digest=digest, folder=folder, weights=tensors, variant=variant, **placed, **options
    )


def import_libraries() -> None:
    """Import diffusers and transformers, which takes seconds, and silence their progress bars.

    One thread at a time: two that import parts of diffusers at once may find modules that are only half imported.
    """
    with IMPORTING:
        from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel, UNet2DModel  # noqa: F401
        from diffusers.utils import logging as diffusers_logging
        from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()


def read_index(folder: Path) -> dict[str, Any]:
    """Read a folder's model_index.json, which names at least the pipeline and the scheduler.

    Raises:
        UserError: if it is missing or cannot be read.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        if (folder / "report.json").is_file():
            raise UserError(f"'{folder}' holds a run without a model, since its method left the weights as they were.")
        raise UserError(f"'{folder}' is not a diffusers model folder: it has no model_index.json.")
    try:
        index = read_json(path)
        pipeline, scheduler = index["_class_name"], index["scheduler"][1]
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"'{path}' could not be read: {first_line(error)}") from error
    if not isinstance(pipeline, str):
        raise UserError(f"'{folder}' has a pipeline with code of its own ({pipeline}), which is never run; give a stock one.")
    if not isinstance(scheduler, str):
        raise UserError(f"'{folder}' has no scheduler, so its noise schedule is not known; save it with one.")
    return index


def remedy(folder: Path, pipeline: str) -> str:
    """What to do without weights as safetensors."""
    return (
        f"and weights in other formats are not loaded, as they may run code; if you trust them, save them anew with "
        f"diffusers' {pipeline}.from_pretrained('{folder}').save_pretrained('NEW'), and give the folder NEW."
    )


def part_folder(family: Family, folder: Path, name: str) -> Path:
    """The folder of a part's files."""
    return part_of(folder, name) if family.PART_AT_ROOT else folder / name


def reader_of(family: Family, folder: Path, index: dict[str, Any], name: str) -> type:
    """The class of a part, as model_index.json names it.

    Raises:
        UserError: if the part is missing, or of a class that the family does not have.
    """
    classes = family.PARTS[name]
    known = {path.rpartition(".")[2]: path for path in (classes if isinstance(classes, tuple) else (classes,))}
    if name not in (named := components(index)):
        raise UserError(
            f"'{folder}' has no {name}, without which {family.TITLE} cannot draw; give a folder with all its parts."
        )
    library, found = named[name]
    # The libraries' "fast" tokenizers are the same tokenizers.
    path = known.get(found.removesuffix("Fast")) if library in ("diffusers", "transformers") else None
    if path is None:
        what = USES.get(name.removesuffix("_2"), f"has as its {name}")
        raise UserError(
            f"'{folder}' {what} a {found} of {library}, and only {' or '.join(known)} can be used in {family.TITLE}; "
            f"give a model with that part."
        )
    library, _, name = path.rpartition(".")
    return getattr(importlib.import_module(library), name)


def tensors_in(weights: Sequence[Path]) -> int:
    """The number of tensors in a part's weights.

    Raises:
        UserError: if a file is no safetensors file, or not a whole one.
    """
    count = 0
    for path in (path for path in weights if path.suffix == ".safetensors"):
        try:
            with safe_open(path, "pt") as file:
                count += len(file.keys())
        except (SafetensorError, OSError) as error:
            raise UserError(f"'{path}' is no whole safetensors file ({first_line(error)}); copy or fetch it again.") from error
    return count


def check_config(path: Path, tensors: int) -> None:
    """Look at a part's configuration before the part is made of it.

    Args:
        path: of its config.json; tensors: the number of tensors in its weights.

    Raises:
        UserError: if it cannot be read, or describes more layers than the weights can fill, which would take all memory.
    """
    config = read_settings(path)
    for key in LAYERS:
        counts = config.get(key) if isinstance(config.get(key), list) else [config.get(key)]
        if any(isinstance(count, int) and count > tensors for count in counts):
            raise UserError(f"'{path}' asks for more layers ({key}) than its weights have; give both from one model.")


def read_parts(family: Family, folder: Path, readers: dict[str, type], variants: dict[str, str]) -> dict[str, Any]:
    """All parts of a model, by name.

    Raises:
        UserError: if one cannot be read, or its weights lack parameters, which the libraries would fill at random.
    """
    parts = {}
    for name, reader in readers.items():
        try:
            parts[name], missing = read_part(reader, part_folder(family, folder, name), variants.get(name))
        except UNREADABLE as error:
            if found := re.search(r"size mismatch for (\S+):", str(error)):
                raise UserError(
                    f"'{folder}' has weights of other shapes than the config.json of its {name} says, such as {found[1]}; "
                    "give both from one model."
                ) from error
            raise UserError(f"The {name} of '{folder}' could not be read as {family.TITLE}: {first_line(error)}") from error
        if missing:
            raise UserError(f"'{folder}' lacks {len(missing)} of the parameters of its {name}, such as {min(missing)}.")
    return parts


def read_part(reader: type, folder: Path, variant: str | None) -> tuple[Any, Sequence[str]]:
    """One part, and the names of parameters that its weights lack."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    if not issubclass(reader, ModelMixin | PreTrainedModel):
        return reader.from_pretrained(folder, local_files_only=True), []
    options: dict[str, Any] = {"variant": variant or None, "use_safetensors": True, "local_files_only": True}
    if issubclass(reader, ModelMixin):  # the last argument avoids advice to install accelerate
        options |= {"torch_dtype": torch.float32, "low_cpu_mem_usage": False}
    else:
        options |= {"dtype": torch.float32}
    part, info = reader.from_pretrained(folder, output_loading_info=True, **options)
    return part, sorted(info["missing_keys"])

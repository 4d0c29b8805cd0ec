"""Write an unlearned model as a folder that differs from the one it came from by the trained weights alone."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from vdu.errors import UserError
from vdu.models.files import PLAIN, PRECISIONS, WEIGHT, components, weight_sets

if TYPE_CHECKING:
    from diffusers import ModelMixin

UNSHARDED = "1TB"  # diffusers splits files above 10 GB, as of a large network in float32
AT_ROOT = ("config.json", "scheduler_config.json")  # of a DDPM whose files all lie beside model_index.json
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")  # formats of weights that are neither read nor passed on
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_folder(source: Path, target: Path, unet: "ModelMixin", trained: Mapping[str, Tensor], loaded: str) -> None:
    """Write a model: every file of `source` that belongs to it, with the trained parameters in the network's weights.

    Weights in formats that need unpickling, and other variants of the network's weights than those of its precisions, stay
    behind. A part that has no other weights becomes null in model_index.json, as in a model saved without it.

    Args:
        source: the folder that the model was loaded from; target: a folder that does not exist.
        unet: the network; trained: its trained parameters, by name.
        loaded: the variant of its weights that was loaded.

    Raises:
        UserError: if a file of the model has vanished; `target` does not exist then, nor after any other error.
    """
    try:
        copy_folder(source, target, unet, trained, loaded)
    except FileNotFoundError as error:
        shutil.rmtree(target, ignore_errors=True)
        name = Path(error.filename or source).name
        raise UserError(f"'{name}' of the model in '{source}' has vanished during the run; fetch the model again.") from error
    except Exception:
        shutil.rmtree(target, ignore_errors=True)
        raise


def copy_folder(source: Path, target: Path, unet: "ModelMixin", trained: Mapping[str, Tensor], loaded: str) -> None:
    """See `write_folder`; what fails is left half-written."""
    index = json.loads((source / "model_index.json").read_text(encoding="utf-8"))
    target.mkdir(parents=True)
    left_out = [name for name in components(index) if (source / name).is_dir() and not copy_part(source / name, target / name)]
    at_root = not (source / "unet").is_dir()
    for path in source.iterdir():
        of_network = at_root and (path.name in AT_ROOT or WEIGHT.fullmatch(path.name))
        if path.is_file() and (of_network or path.name.startswith("LICENSE") or path.name == "model_index.json"):
            shutil.copyfile(path, target / path.name)
    if left_out:
        index |= {name: [None, None] for name in left_out}
        (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    write_network(target if at_root else target / "unet", unet, trained, loaded)


def copy_part(source: Path, target: Path) -> bool:
    """Copy a part's plain files and safetensors; if all its weights are in other formats, copy nothing and return False."""
    paths = [path for path in source.iterdir() if path.is_file()]
    if any(path.suffix in PICKLED for path in paths) and not weight_sets(path.name for path in paths):
        return False
    target.mkdir()
    for path in paths:
        if path.suffix in (*PLAIN, ".safetensors"):
            shutil.copyfile(path, target / path.name)  # follows links, of which the hub's cache consists
    return True


def write_network(folder: Path, unet: "ModelMixin", trained: Mapping[str, Tensor], loaded: str) -> None:
    """Put trained parameters into the weight files in a network's folder, each in the file's own precision."""
    sets = weight_sets(path.name for path in folder.iterdir())
    for variant, names in sets.items():
        paths = [folder / name for name in names if name.endswith(".safetensors")]
        stored = {name: kind for path in paths for name, kind in precisions(path).items()}
        if variant not in (loaded, *PRECISIONS) or not trained.keys() <= stored.keys():
            for name in names:
                (folder / name).unlink()
            if variant == loaded:  # attention under its former names: diffusers writes the present ones
                network = copy.deepcopy(unet).to(next(iter(stored.values()), torch.float32))
                network.save_pretrained(folder, variant=variant or None, max_shard_size=UNSHARDED)
        else:
            for path in paths:
                overwrite(path, trained)


def precisions(path: Path) -> dict[str, torch.dtype]:
    """The number format of each floating-point tensor in a safetensors file, by name."""
    with safe_open(path, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    return {name: DTYPES[kind] for name, kind in kinds.items() if kind in DTYPES}


def overwrite(path: Path, values: Mapping[str, Tensor]) -> None:
    """Overwrite the tensors of a safetensors file that have a new value, in place, each in the file's own precision.

    The format is eight bytes for the header's length, the header in JSON, and the tensors, whose offsets it has; written in
    place, a file of 10 GB needs no memory, and all else in it stays byte for byte.
    """
    with path.open("r+b") as raw:
        length = int.from_bytes(raw.read(8), "little")
        header: dict[str, Any] = json.loads(raw.read(length))
        for name in header.keys() & values.keys():
            data = values[name].detach().cpu().to(DTYPES[header[name]["dtype"]]).contiguous()
            raw.seek(8 + length + header[name]["data_offsets"][0])
            raw.write(data.flatten().view(torch.uint8).numpy().tobytes())

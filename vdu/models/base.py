"""The base of all model families: the interface `Diffusion`, a network's `Condition`, and the number formats of devices."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from safetensors import safe_open
from torch import Tensor

from vdu.errors import BrokenImages, UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"
UNSHARDED = "1TB"  # diffusers splits files above 10 GB, as of a large network in float32; here each part stays one file
TIMESTEPS = 1000  # of a noise schedule; timesteps in a recipe lie in 0 … TIMESTEPS - 1
# Kinds of models that share defaults: unconditional models with one channel (drawings) or more (photographs), and
# text-to-image models of small or full size.
UNCONDITIONAL, PHOTOGRAPHS, SMALL, FULL_SIZE = KINDS = ("unconditional", "photographs", "small", "full-size")
# Limits of ONEDNN_MAX_CPU_ISA under which oneDNN only emulates bfloat16, many times slower than float32.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
LARGE = 32  # smallest height and width of a full-size model's latents; above it, memory is the limit
PARAMETERS: dict[str, Callable[[str], bool]] = {  # choice of parameters to train -> whether it includes a name
    "all": lambda name: True,
    "cross-attention": lambda name: ".attn2." in name,
    "no-cross-attention": lambda name: ".attn2." not in name,
}


def pick_device(name: str) -> str:
    """Turn "auto" into "cuda" if there is a GPU, else into "cpu".

    Raises:
        UserError: if "cuda" is asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device on this machine; use --device cpu or auto.")
    return name


def has_bfloat16(device: str) -> bool:
    """Whether the hardware computes bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    barred = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16
    return torch.cpu._is_avx512_bf16_supported() and not barred


def autocast(device: str, float16: bool = True) -> AbstractContextManager:
    """bfloat16 if the hardware computes it natively; else float32, or float16 on a GPU while no gradient is needed.

    Args:
        device: "cpu" or "cuda".
        float16: False for a part whose activations exceed float16's range.
    """
    native = has_bfloat16(device)
    half = torch.bfloat16 if native or device == "cpu" else torch.float16
    return torch.autocast(device, half, enabled=native or (device == "cuda" and float16 and not torch.is_grad_enabled()))


@contextmanager
def on_device(module: torch.nn.Module, device: str) -> Iterator[torch.nn.Module]:
    """Move a rarely used module to a device for the duration of a `with` block, then back to main memory."""
    module.to(device)
    try:
        yield module
    finally:
        module.to("cpu")


@dataclass(frozen=True, eq=False)
class Condition:
    """The inputs of a network besides x_t and t, for n images; none at all for a model without prompts.

        both = Condition.cat([model.conditions(["a dog"]), model.conditions([None])])
        model.predict_noise(states, t, both.rows([0, 0, 1]))

    Attributes:
        tensors: name -> tensor with first dimension n; every family has its own names.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @staticmethod
    def cat(parts: Sequence["Condition"]) -> "Condition":
        """The rows of several conditions of one model, one after another.

        Raises:
            ValueError: if their tensors have different names, since they then come from different families.
        """
        names = list(parts[0].tensors)
        if any(list(part.tensors) != names for part in parts):
            raise ValueError("Conditions of different families cannot be put together.")
        return Condition({name: torch.cat([part[name] for part in parts]) for name in names})

    def rows(self, index: Tensor | Sequence[int] | slice) -> "Condition":
        """Some rows: by numbers, which may repeat, by a slice, or by a mask (n,)."""
        return Condition({name: value[index] for name, value in self.tensors.items()})

    def where(self, mask: Tensor, other: "Condition") -> "Condition":
        """This condition's rows where a mask (n,) is True, elsewhere the rows of `other`."""
        return Condition(
            {
                name: torch.where(mask.view(-1, *[1] * (value.dim() - 1)), value, other[name])
                for name, value in self.tensors.items()
            }
        )

    def to(self, device: str) -> "Condition":
        """The same condition on another device."""
        return Condition({name: value.to(device) for name, value in self.tensors.items()})


NO_CONDITION = Condition()


@dataclass
class Diffusion(ABC):
    """A diffusion model on states x_t (n, c, h, w): pixels, or the latents of an autoencoder.

    A family of models is a subclass, which its module declares as FAMILY; nothing else has to be changed. The class variables
    say how models of the family are recognised, read and written.

    Attributes:
        unet: the network.
        scheduler: its noise schedule.
        device: "cpu" or "cuda".
        digest: hash of all files that it was loaded from; identifies the model in caches.
        folder: the folder it was loaded from; None if it was not loaded.
        PIPELINES: the diffusers pipeline classes of this family in model_index.json; `save` writes the first.
        TITLE: the family's name in an error message.
        PARTS: name of each part but the scheduler, and of its folder -> the class that reads it.
        PART_AT_ROOT: whether the network may also lie beside model_index.json instead of in its own folder.
        OPTIONS: setting in model_index.json that is also a field of the model -> its value if absent.
        SAVE_OPTIONS: further arguments of the pipeline class for saving.
        takes_prompts: whether the model draws from prompts.
    """

    PIPELINES: ClassVar[tuple[str, ...]]
    TITLE: ClassVar[str]
    PARTS: ClassVar[dict[str, type]]
    PART_AT_ROOT: ClassVar[bool] = False
    OPTIONS: ClassVar[dict[str, Any]] = {}
    SAVE_OPTIONS: ClassVar[dict[str, Any]] = {}
    takes_prompts: ClassVar[bool]

    unet: UNet2DModel | UNet2DConditionModel
    scheduler: DDPMScheduler
    device: str
    digest: str
    folder: Path | None = None

    # --- the family ---

    @classmethod
    @abstractmethod
    def kind(cls, config: Mapping[str, Any]) -> str:
        """The kind, one of `KINDS`, of a model, by its network's configuration."""

    @classmethod
    @abstractmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Why a model of these parts cannot be unlearned, as the end of a sentence; None if it can."""

    @classmethod
    def place(cls, parts: dict[str, Any], device: str, large: float) -> dict[str, Any]:
        """Prepare the parts for use: the network on its device, all others in main memory.

        Args:
            parts: name -> part, as read.
            device: "cpu" or "cuda".
            large: states of at least this height and width make the model save memory, if the family can.
        """
        modules = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        modules["unet"].to(device)
        return parts | {name: part.to(memory_format=torch.channels_last).eval() for name, part in modules.items()}

    # --- the interface ---

    @abstractmethod
    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """The network's condition for n prompts; None or "" is no prompt."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 images (n, c', h', w') as states (n, c, h, w) on the model's device."""

    @abstractmethod
    def decode(self, states: Tensor) -> Tensor:
        """Decode states (n, c, h, w) to uint8 images (n, c', h', w') on the CPU."""

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """epsilon_theta(x_t, t), float32 (n, c, h, w), for x_t (n, c, h, w), integer timesteps t (n,) and n conditions."""
        with autocast(self.device):
            inputs = noisy.contiguous(memory_format=torch.channels_last)
            predicted = self.unet(inputs, t, **self.condition_arguments(condition)).sample.float()
        return self.noise_in(predicted, noisy, t)

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The keyword arguments that pass a condition to the network."""
        return {}

    def save(self, folder: Path) -> None:
        """Write a folder that the first of `PIPELINES` loads with `from_pretrained`; safetensors only, in full precision."""
        model = self.in_full_precision()
        parts = {name: getattr(model, name) for name in (*self.PARTS, "scheduler", *self.OPTIONS)}
        pipeline = getattr(import_module("diffusers"), self.PIPELINES[0])
        pipeline(**parts, **self.SAVE_OPTIONS).save_pretrained(folder, safe_serialization=True, max_shard_size=UNSHARDED)

    def in_full_precision(self) -> "Diffusion":
        """The model in float32, for saving; a copy if the family holds large models in lower precision."""
        return self

    # --- shared by all families ---

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a state."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config.in_channels, height, width

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.shape

    @property
    def alpha_bar(self) -> Tensor:
        """alpha-bar_t for t = 0 … T-1, shape (T,)."""
        return self.scheduler.alphas_cumprod.to(self.device)

    def noise_in(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise in x_t, from a network's output.

        The output is the noise itself, or v of v-prediction (Salimans & Ho 2022); then the noise is alpha_t v + sigma_t x_t.
        """
        if self.scheduler.config.prediction_type == "epsilon":
            return predicted
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * predicted + (1 - alpha_bar).sqrt() * noisy

    def train_only(self, which: str) -> None:
        """Freeze all parameters except a choice from `PARAMETERS`, of which the model gets its own copies in float32.

        Raises:
            UserError: if the network has no such parameters.
        """
        fixed = self.unet.requires_grad_(False)
        chosen = {name: value.detach() for name, value in fixed.named_parameters() if PARAMETERS[which](name)}
        if not chosen:
            raise UserError(f"This model has no {which} parameters; train all of them.")
        if any(value.dtype != torch.float32 for value in chosen.values()):  # the file is more precise
            with safe_open(part_of(self.folder, "unet") / WEIGHTS, "pt", self.device) as saved:
                chosen = {name: saved.get_tensor(name) for name in chosen}
        for name, value in chosen.items():
            module, _, leaf = name.rpartition(".")
            own = torch.nn.Parameter(value.float().clone(memory_format=torch.preserve_format))
            setattr(self.unet.get_submodule(module), leaf, own)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The network's parameters that are not frozen, by name."""
        return {name: value for name, value in self.unet.named_parameters() if value.requires_grad}

    def clone(self) -> Self:
        """A copy whose trained parameters can be changed without changing this model; frozen parameters are shared."""
        shared = {id(value): value for value in self.unet.parameters() if not value.requires_grad}
        return replace(self, unet=copy.deepcopy(self.unet, shared))


Model = Diffusion


def part_of(folder: Path, part: str) -> Path:
    """The folder of a model's part: the one with its name, or else the model's own, as in diffusers."""
    return folder / part if (folder / part).is_dir() else folder


def is_large(size: int | Sequence[int], large: float) -> bool:
    """Whether states have at least `large` rows and columns; `size` is the network's sample_size."""
    return (size if isinstance(size, int) else min(size)) >= large


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU.

    Raises:
        BrokenImages: if a value is NaN or infinite, which would become black or white.
    """
    if not images.isfinite().all():
        raise BrokenImages("values that are not finite")
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def from_uint8(images: Tensor) -> Tensor:
    """uint8 images to floats in [-1, 1], on the same device."""
    return images.float() / 127.5 - 1


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a one-line sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

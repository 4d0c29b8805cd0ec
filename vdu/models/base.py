"""What all model families share: the interface `Diffusion`, a network's `Condition`, and the device's number format."""

import copy
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

from vdu.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"
UNSHARDED = "1TB"  # diffusers splits files of 10 GB, which one network in float32 may have; here each part stays one file
TIMESTEPS = 1000  # of a noise schedule; timesteps in a recipe count from 0 to this
# Kinds of models that share defaults: unconditional ones of drawings in one channel or of photographs, and text-to-image
# ones of toy size or of full size.
UNCONDITIONAL, PHOTOGRAPHS, SMALL, FULL_SIZE = KINDS = ("unconditional", "photographs", "small", "full-size")
LARGE = 32  # smallest height and width of a full-size model's latents: from there on, memory is what runs out
PARAMETERS: dict[str, Callable[[str], bool]] = {  # choice of parameters to train -> whether a name is among them
    "all": lambda name: True,
    "cross-attention": lambda name: ".attn2." in name,
    "no-cross-attention": lambda name: ".attn2." not in name,
}


def pick_device(name: str) -> str:
    """Turn "auto" into "cuda" if a GPU is there, else into "cpu".

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
    return torch.cpu._is_avx512_bf16_supported()


def autocast(device: str, float16: bool = True) -> AbstractContextManager:
    """bfloat16 where the hardware computes it natively; else float32, or on a GPU float16 when no gradient is needed.

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
    """What a network is given besides x_t and t, for n images; nothing at all for a model without prompts.

        both = Condition.cat([model.conditions(["a dog"]), model.conditions([None])])
        model.predict_noise(states, t, both.rows([0, 0, 1]))

    Attributes:
        tensors: by name, each with first dimension n. The names are the family's own.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @staticmethod
    def cat(parts: Sequence["Condition"]) -> "Condition":
        """The rows of several conditions of one model, one after another.

        Raises:
            ValueError: if their tensors have different names, so that they come from different families.
        """
        names = list(parts[0].tensors)
        if any(list(part.tensors) != names for part in parts):
            raise ValueError("Conditions of different families cannot be put together.")
        return Condition({name: torch.cat([part[name] for part in parts]) for name in names})

    def rows(self, index: Tensor | Sequence[int] | slice) -> "Condition":
        """Some rows: by their numbers, which may repeat, as a slice, or where a mask (n,) is True."""
        return Condition({name: value[index] for name, value in self.tensors.items()})

    def where(self, mask: Tensor, other: "Condition") -> "Condition":
        """These rows where a mask (n,) is True, elsewhere those of `other`."""
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

    A family of models is a subclass; its module declares it as FAMILY, and nothing else needs to know of it. The class
    variables tell how the family is recognised, read and written.

    Attributes:
        unet: the network.
        scheduler: its noise schedule.
        device: "cpu" or "cuda".
        digest: hash of the weights the model was loaded with; names the model in caches and reports.
        folder: where it was loaded from, if it was.
        PIPELINES: diffusers' pipeline classes in model_index.json that mean this family; `save` writes the first.
        TITLE: the family in an error's sentence.
        PARTS: the parts beside the scheduler, each in a folder of its name -> the class that reads it.
        PART_AT_ROOT: whether the network may also lie beside model_index.json, in no folder of its name.
        OPTIONS: settings in model_index.json that are fields of the model -> their value if absent.
        SAVE_OPTIONS: further arguments of the pipeline class, for saving.
        takes_prompts: whether a prompt says what to draw.
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
        """Which of `KINDS` a model is of, by the configuration of its network."""

    @classmethod
    @abstractmethod
    def misfit(cls, parts: Mapping[str, Any]) -> str | None:
        """Why a model of these parts cannot be unlearned, to follow "cannot be unlearned: "; None if it can."""

    @classmethod
    def place(cls, parts: dict[str, Any], device: str, large: float) -> dict[str, Any]:
        """The parts as the model will use them: the network on its device, all others in main memory.

        Args:
            parts: by name, as they were read.
            device: "cpu" or "cuda".
            large: height and width of the states from which on memory is saved, where a family can.
        """
        modules = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        modules["unet"].to(device)
        return parts | {name: part.to(memory_format=torch.channels_last).eval() for name, part in modules.items()}

    # --- the interface ---

    @abstractmethod
    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """The network's condition for each of n prompts; None or "" is no prompt."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """States (n, c, h, w) on the model's device, of uint8 images (n, c', h', w')."""

    @abstractmethod
    def decode(self, states: Tensor) -> Tensor:
        """uint8 images (n, c', h', w') on the CPU, of states (n, c, h, w)."""

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """epsilon_theta(x_t, t, c) in float32 for x_t (n, c, h, w), integer timesteps t (n,) and n conditions."""
        with autocast(self.device):
            inputs = noisy.contiguous(memory_format=torch.channels_last)
            predicted = self.unet(inputs, t, **self.condition_arguments(condition)).sample.float()
        return self.noise_in(predicted, noisy, t)

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The keyword arguments by which the network takes a condition."""
        return {}

    def save(self, folder: Path) -> None:
        """Write a folder that the first of `PIPELINES` loads with `from_pretrained`; safetensors only, in full precision."""
        model = self.in_full_precision()
        parts = {name: getattr(model, name) for name in (*self.PARTS, "scheduler", *self.OPTIONS)}
        pipeline = getattr(import_module("diffusers"), self.PIPELINES[0])
        pipeline(**parts, **self.SAVE_OPTIONS).save_pretrained(folder, safe_serialization=True, max_shard_size=UNSHARDED)

    def in_full_precision(self) -> "Diffusion":
        """The model to save: this one, unless its family holds large models in less than float32."""
        return self

    # --- what follows for all ---

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
        """The noise in x_t that a network's output means.

        The output is the noise itself, or v of v-prediction (Salimans & Ho 2022): then it is alpha_t v + sigma_t x_t.
        """
        if self.scheduler.config.prediction_type == "epsilon":
            return predicted
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * predicted + (1 - alpha_bar).sqrt() * noisy

    def train_only(self, which: str) -> None:
        """Fix all parameters but one choice of `PARAMETERS`; the model gets its own copies of the chosen ones, in float32.

        Raises:
            UserError: if the network has no such parameters.
        """
        fixed = self.unet.requires_grad_(False)
        chosen = {name: value.detach() for name, value in fixed.named_parameters() if PARAMETERS[which](name)}
        if not chosen:
            raise UserError(f"This model has no {which} parameters; train all of them.")
        if any(value.dtype != torch.float32 for value in chosen.values()):  # start from the file, which is more precise
            with safe_open(part_of(self.folder, "unet") / WEIGHTS, "pt", self.device) as saved:
                chosen = {name: saved.get_tensor(name) for name in chosen}
        for name, value in chosen.items():
            module, _, leaf = name.rpartition(".")
            own = torch.nn.Parameter(value.float().clone(memory_format=torch.preserve_format))
            setattr(self.unet.get_submodule(module), leaf, own)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The network's parameters that are not fixed, by name."""
        return {name: value for name, value in self.unet.named_parameters() if value.requires_grad}

    def clone(self) -> Self:
        """A copy whose parameters can be changed without touching this model's; fixed parameters are shared."""
        shared = {id(value): value for value in self.unet.parameters() if not value.requires_grad}
        return replace(self, unet=copy.deepcopy(self.unet, shared))


Model = Diffusion


def part_of(folder: Path, part: str) -> Path:
    """Where a model has a part: in the folder of that name, or else at its root, as diffusers itself looks for it."""
    return folder / part if (folder / part).is_dir() else folder


def is_large(size: int | Sequence[int], large: float) -> bool:
    """Whether states have at least `large` rows and columns; `size` is sample_size of the network's configuration."""
    return (size if isinstance(size, int) else min(size)) >= large


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def from_uint8(images: Tensor) -> Tensor:
    """uint8 images to floats in [-1, 1], on their device."""
    return images.float() / 127.5 - 1


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a sentence that must stay one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

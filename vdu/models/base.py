"""The base of all model families: the interface `Diffusion`."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from safetensors import safe_open
from torch import Tensor

from vdu.errors import BrokenImages, UserError
from vdu.models.condition import NO_CONDITION, Condition
from vdu.models.devices import autocast
from vdu.models.guidance import Guidance
from vdu.models.saving import precisions, write_folder
from vdu.models.schedule import first_timestep, prediction_of

if TYPE_CHECKING:
    from diffusers import SchedulerMixin, UNet2DConditionModel, UNet2DModel

# Kinds of models that share defaults: unconditional models with one channel (drawings) or more (photographs), and
# text-to-image models of small or full size.
UNCONDITIONAL, PHOTOGRAPHS, SMALL, FULL_SIZE = KINDS = ("unconditional", "photographs", "small", "full-size")
NARROW = 16  # channels per group from which group norms are fast in bfloat16
LARGE = 32  # smallest height and width of a full-size model's latents; above it, memory is the limit
PARAMETERS: dict[str, Callable[[str], bool]] = {  # choice of parameters to train -> whether it includes a name
    "all": lambda name: True,
    "cross-attention": lambda name: ".attn2." in name,
    "keys-values": lambda name: name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")),
    "no-cross-attention": lambda name: ".attn2." not in name,
}


class NarrowGroupNorm(torch.nn.GroupNorm):
    """A group norm in float32 for groups of few channels.

    On a CPU, torch's in bfloat16 with channels last takes five times as long as this for groups of 8 channels, where a vector
    register holds more, and three times as long backwards.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, c, …), and return it in its own format."""
        weight, bias = (None if part is None else part.float() for part in (self.weight, self.bias))
        return torch.nn.functional.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


@dataclass
class Diffusion(ABC):
    """A diffusion model on states x_t (n, c, h, w): pixels, or the latents of an autoencoder.

    A family of models is a subclass, which its module declares as FAMILY; nothing else has to be changed. The class variables
    say how models of the family are recognised, read and written.

    Attributes:
        unet: the network.
        scheduler: the folder's scheduler, for its noise schedule alone.
        device: "cpu" or "cuda".
        digest: hash of all files that it was loaded from; identifies the model in caches.
        folder: the folder it was loaded from; None if it was not loaded.
        weights: the files of the network's weights; variant: the variant that they are, "" for none.
        guide: what samples are guided by, for a method that leaves the weights as they are; None for no guidance.
        PIPELINES: the diffusers pipeline classes of this family in model_index.json.
        TITLE: the family's name in an error message.
        PARTS: name of each part but the scheduler, and of its folder -> the class that reads it, or the classes it may have,
            as "library.Class": diffusers and transformers take seconds to import, and are only when a model is read.
        PART_AT_ROOT: whether the network may also lie beside model_index.json instead of in its own folder.
        OPTIONS: setting in model_index.json that is also a field of the model -> its value if absent.
        PIXELS: whether states are images, so that the network's configuration tells their shape.
        ENCODERS: text encoder -> its tokenizer, both parts; empty for a model that reads no prompts by such encoders.
        takes_prompts: whether the model draws from prompts.
    """

    PIPELINES: ClassVar[tuple[str, ...]]
    TITLE: ClassVar[str]
    PARTS: ClassVar[dict[str, str | tuple[str, ...]]]
    PART_AT_ROOT: ClassVar[bool] = False
    OPTIONS: ClassVar[dict[str, Any]] = {}
    PIXELS: ClassVar[bool] = False
    ENCODERS: ClassVar[dict[str, str]] = {}
    takes_prompts: ClassVar[bool]

    unet: "UNet2DModel | UNet2DConditionModel"
    scheduler: "SchedulerMixin"
    device: str
    digest: str
    folder: Path | None = None
    weights: tuple[Path, ...] = ()
    variant: str = ""
    guide: Guidance | None = None

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
        for module in (module for part in modules.values() for module in part.modules()):
            if type(module) is torch.nn.GroupNorm and module.num_channels < NARROW * module.num_groups:
                module.__class__ = NarrowGroupNorm
        return parts | {name: part.to(memory_format=torch.channels_last).eval() for name, part in modules.items()}

    # --- the interface ---

    @abstractmethod
    def conditions(self, prompts: Sequence[str | None]) -> Condition:
        """The network's condition for n prompts; None is no prompt, from which guidance starts."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encode uint8 images (n, c', h', w') as states (n, c, h, w) on the model's device."""

    @abstractmethod
    def decode(self, states: Tensor) -> Tensor:
        """Decode states (n, c, h, w) to uint8 images (n, c', h', w') on the CPU."""

    def predict(self, noisy: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """The network's output, float32 (n, c, h, w): epsilon, v or x_0, see `prediction_of`; arguments as `predict_noise`."""
        with autocast(self.device):
            inputs = noisy.contiguous(memory_format=torch.channels_last)
            return self.unet(inputs, t, **self.condition_arguments(condition)).sample.float()

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """epsilon_theta(x_t, t), float32 (n, c, h, w), for x_t (n, c, h, w), integer timesteps t (n,) and n conditions."""
        return self.noise_in(self.predict(noisy, t, condition), noisy, t)

    def condition_arguments(self, condition: Condition) -> dict[str, Any]:
        """The keyword arguments that pass a condition to the network."""
        return {}

    def knows_whole(self, words: Sequence[str]) -> bool:
        """Whether every word is one token to the model; True where its family cannot tell."""
        return True

    def check_prompts(self, prompts: Sequence[str]) -> None:  # noqa: B027 (a family without prompts has nothing to check)
        """Refuse prompts that the model does not read to their end; a model without prompts refuses none.

        Raises:
            UserError: the sentence says which words are not read.
        """

    def save(self, folder: Path) -> None:
        """Write a folder that is the model's own but for the trained parameters; see `saving.write_folder`.

        Raises:
            ValueError: if the model was not loaded from a folder.
        """
        if self.folder is None:
            raise ValueError("A model that was not loaded has no folder to copy.")
        write_folder(self.folder, folder, self.unet, self.trained, self.variant)

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

    @property
    def first_timestep(self) -> int:
        """The noisiest timestep from which a sampler can start; see `schedule.first_timestep`."""
        return first_timestep(self.scheduler.alphas_cumprod, prediction_of(self.scheduler))

    @property
    def clips(self) -> bool:
        """Whether sampling clips x_0; see `schedule.clips`. Latents have no bounds."""
        return False

    def noise_in(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise in x_t, from a network's output.

        The output is the noise itself, v of v-prediction (Salimans & Ho 2022), or x_0. With alpha = sqrt(alpha-bar) and
        sigma = sqrt(1 - alpha-bar) the noise is then alpha v + sigma x_t, or (x_t - alpha x_0) / sigma.
        """
        prediction = prediction_of(self.scheduler)
        if prediction == "epsilon":
            return predicted
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return alpha * predicted + sigma * noisy if prediction == "v_prediction" else (noisy - alpha * predicted) / sigma

    def output_of(self, noise: Tensor, t: Tensor) -> Tensor:
        """The change of a network's output that changes the noise predicted in x_t as given; the inverse of `noise_in`."""
        prediction = prediction_of(self.scheduler)
        if prediction == "epsilon":
            return noise
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        alpha = alpha_bar.sqrt().clamp(min=1e-6)  # at 0 the noise is x_t, whatever the output
        return noise / alpha if prediction == "v_prediction" else -(1 - alpha_bar).sqrt() / alpha * noise

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
            for path in self.weights:
                with safe_open(path, "pt", self.device) as saved:
                    chosen |= {name: saved.get_tensor(name) for name in saved.keys() if name in chosen}  # noqa: SIM118
        for name, value in chosen.items():
            module, _, leaf = name.rpartition(".")
            own = torch.nn.Parameter(value.float().clone(memory_format=torch.preserve_format))
            setattr(self.unet.get_submodule(module), leaf, own)

    def round_to_files(self) -> None:
        """Round the trained parameters to the precision of their files, so that what is measured is what is written."""
        stored = {name: kind for path in self.weights for name, kind in precisions(path).items()}
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(value.to(stored.get(name, torch.float32)))

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


def is_size(size: Any) -> bool:
    """Whether a sample_size is a whole number above 0, or two of them."""
    return all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides(size))


def sides(size: Any) -> Sequence[Any]:
    """A sample_size as a sequence: of both sides, or of the one number that is given for both."""
    return size if isinstance(size, Sequence) and len(size) == 2 else (size,)


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

"""One small interface over a diffusion model: predict the noise, know the schedule, be saved as a diffusers folder."""

import copy
import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from vdu.errors import UserError

COMPATIBLE_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")


def pick_device(name: str) -> str:
    """Turn "auto" into "cuda" where there is one, else "cpu".

    Raises:
        UserError: if "cuda" is asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device on this machine; use --device cpu or auto.")
    return name


def autocast(device: str) -> AbstractContextManager:
    """bfloat16 where the hardware computes it natively, float32 elsewhere."""
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=native)


@dataclass
class DDPM:
    """An unconditional, epsilon-prediction DDPM.

    Attributes:
        unet: the network.
        scheduler: its noise schedule.
        device: "cpu" or "cuda".
        digest: hash of the weights it was loaded with; names the model in caches and reports.
        folder: where it was loaded from, if it was.
    """

    unet: UNet2DModel
    scheduler: DDPMScheduler
    device: str
    digest: str
    folder: Path | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config.in_channels, height, width

    @property
    def alpha_bar(self) -> Tensor:
        """alpha-bar_t for t = 0 … T-1, shape (T,)."""
        return self.scheduler.alphas_cumprod.to(self.device)

    @property
    def betas(self) -> Tensor:
        """beta_t for t = 0 … T-1, shape (T,)."""
        return self.scheduler.betas.to(self.device)

    def predict_noise(self, noisy: Tensor, t: Tensor) -> Tensor:
        """epsilon_theta(x_t, t) in float32 for x_t (n, c, h, w) and integer timesteps t (n,)."""
        with autocast(self.device):
            return self.unet(noisy.contiguous(memory_format=torch.channels_last), t).sample.float()

    def clone(self) -> "DDPM":
        """A copy whose weights can be changed without touching this one's."""
        return DDPM(copy.deepcopy(self.unet), self.scheduler, self.device, self.digest, self.folder)

    def save(self, folder: Path) -> None:
        """Write a folder that `DDPMPipeline.from_pretrained` loads; safetensors only."""
        DDPMPipeline(unet=self.unet, scheduler=self.scheduler).save_pretrained(folder, safe_serialization=True)


def load_ddpm(folder: Path, device: str = "cpu") -> DDPM:
    """Load a plain diffusers folder of an unconditional DDPM.

    Raises:
        UserError: if the folder does not hold such a model, or only in a format that would be unpickled.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"'{folder}' is not a diffusers model folder: it has no model_index.json.")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise UserError(f"'{folder}' has no unet/diffusion_pytorch_model.safetensors; save the model as safetensors.")
    try:
        scheduler_name = json.loads(index.read_text())["scheduler"][1]
        # Without low_cpu_mem_usage=False, diffusers advises to install accelerate, which these small models do not need.
        unet = UNet2DModel.from_pretrained(
            folder, subfolder="unet", use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
        scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"'{folder}' could not be read as an unconditional DDPM: {first_line(error)}") from error
    if scheduler_name not in COMPATIBLE_SCHEDULERS or scheduler.config.prediction_type != "epsilon":
        raise UserError(f"'{folder}' is not an epsilon-prediction DDPM, which is what can be unlearned so far.")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    unet = unet.to(device).to(memory_format=torch.channels_last).eval()
    return DDPM(unet, scheduler, device, digest, folder)


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a sentence that must stay one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""One small interface over two kinds of diffusion models: an unconditional DDPM, and a text-to-image latent one."""

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch
from diffusers import (
    AutoencoderKL,
    DDPMPipeline,
    DDPMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.models.attention_processor import AttnProcessor
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers import logging as transformers_logging

from vdu.errors import UserError

# Those whose noise schedule is DDPM's; how they sample does not matter here.
COMPATIBLE_SCHEDULERS = (
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler",
)  # fmt: skip
PREDICTIONS = ("epsilon", "v_prediction")  # what a network may predict
TEXT_TO_IMAGE, WORDLESS = "StableDiffusionPipeline", ("DDPMPipeline", "DDIMPipeline")
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_TO_IMAGE_PARTS = (f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors")
PARTS = (*TEXT_TO_IMAGE_PARTS, WEIGHTS)  # all files of weights that any model here has, see `part_of`
TIMESTEPS = 1000  # of a noise schedule; what a recipe says of them means these
CODED = 768_000  # numbers of images that go through the autoencoder at a time: 250 images of 32×32, one of 512×512
# Kinds of models, by what suits them: those that take no words, of drawings in one channel or of photographs; and
# text-to-image ones of toy size and of full size.
UNCONDITIONAL, PHOTOGRAPHS, SMALL, FULL_SIZE = KINDS = ("unconditional", "photographs", "small", "full-size")
LARGE = 32  # height and width of a full-size model's latents, at least: from there on memory decides how it is held
REMEMBERED = 2000  # prompts whose conditions are kept
PARAMETERS = {"all": "", "cross-attention": ".attn2."}  # which of the network's are trained -> what their names have in them


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


def has_bfloat16(device: str) -> bool:
    """Whether the hardware computes bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def autocast(device: str) -> AbstractContextManager:
    """bfloat16 where the hardware computes it natively; on other GPUs float16 where no gradient is asked for; else float32."""
    native = has_bfloat16(device)
    half = torch.bfloat16 if native or device == "cpu" else torch.float16
    return torch.autocast(device, half, enabled=native or (device == "cuda" and not torch.is_grad_enabled()))


@contextmanager
def visiting(module: torch.nn.Module, device: str) -> Iterator[torch.nn.Module]:
    """A module that is rarely needed, on a device for as long as that takes; it waits in main memory."""
    module.to(device)
    try:
        yield module
    finally:
        module.to("cpu")


@dataclass
class Diffusion:
    """A diffusion model on states x_t (n, c, h, w): pixels, or an autoencoder's latents.

    Attributes:
        unet: the network.
        scheduler: its noise schedule.
        device: "cpu" or "cuda".
        digest: hash of the weights it was loaded with; names the model in caches and reports.
        folder: where it was loaded from, if it was.
    """

    unet: UNet2DModel | UNet2DConditionModel
    scheduler: DDPMScheduler
    device: str
    digest: str
    folder: Path | None = None

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
    def betas(self) -> Tensor:
        """beta_t for t = 0 … T-1, shape (T,)."""
        return self.scheduler.betas.to(self.device)

    def noise_in(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise that a network's output means: itself, or of v-prediction (Salimans & Ho 2022) alpha_t v + sigma_t x_t."""
        if self.scheduler.config.prediction_type == "epsilon":
            return predicted
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * predicted + (1 - alpha_bar).sqrt() * noisy

    def train_only(self, which: str) -> None:
        """Fix all parameters but those of a kind, one of `PARAMETERS`; of these the model gets its own, in float32.

        Raises:
            UserError: if there are none of that kind.
        """
        fixed = self.unet.requires_grad_(False)
        named = {name: value.detach() for name, value in fixed.named_parameters() if PARAMETERS[which] in name}
        if not named:
            raise UserError(f"This model has no {which} parameters; train all of them.")
        if any(value.dtype != torch.float32 for value in named.values()):  # start from what is saved, which is more precise
            with safe_open(part_of(self.folder, "unet") / WEIGHTS, "pt", self.device) as saved:
                named = {name: saved.get_tensor(name) for name in named}
        for name, value in named.items():
            module, _, leaf = name.rpartition(".")
            own = torch.nn.Parameter(value.float().clone(memory_format=torch.preserve_format))
            setattr(self.unet.get_submodule(module), leaf, own)

    @property
    def trained(self) -> dict[str, Tensor]:
        """The network's parameters that are not fixed, by name."""
        return {name: value for name, value in self.unet.named_parameters() if value.requires_grad}

    def clone(self) -> Self:
        """A copy whose parameters can be changed without touching this one's; those that are fixed are shared."""
        shared = {id(value): value for value in self.unet.parameters() if not value.requires_grad}
        return replace(self, unet=copy.deepcopy(self.unet, shared))


class DDPM(Diffusion):
    """An unconditional DDPM: states are images in [-1, 1], and there is nothing to say to it."""

    def conditions(self, prompts: Sequence[str | None]) -> None:
        """What the network is told of each prompt: nothing."""
        return

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: None = None) -> Tensor:
        """epsilon_theta(x_t, t) in float32 for x_t (n, c, h, w) and integer timesteps t (n,)."""
        with autocast(self.device):
            predicted = self.unet(noisy.contiguous(memory_format=torch.channels_last), t).sample.float()
        return self.noise_in(predicted, noisy, t)

    def encode(self, images: Tensor) -> Tensor:
        """States of uint8 images, (n, c, h, w)."""
        return from_uint8(images).to(self.device)

    def decode(self, states: Tensor) -> Tensor:
        """uint8 images (n, c, h, w) on the CPU."""
        return to_uint8(states)

    def save(self, folder: Path) -> None:
        """Write a folder that `DDPMPipeline.from_pretrained` loads; safetensors only."""
        DDPMPipeline(unet=self.unet, scheduler=self.scheduler).save_pretrained(folder, safe_serialization=True)


@dataclass
class StableDiffusion(Diffusion):
    """A text-to-image latent diffusion model (Rombach et al. 2022); what is unlearned is in its U-Net alone.

    Attributes:
        vae, text_encoder, tokenizer: the other parts, shared by all clones.
        known: what the text encoder said of prompts that came up before.
    """

    vae: AutoencoderKL = field(kw_only=True)
    text_encoder: CLIPTextModel = field(kw_only=True)
    tokenizer: CLIPTokenizer = field(kw_only=True)
    known: dict[str, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, height, width = self.shape
        times = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.out_channels, height * times, width * times

    @property
    def coded(self) -> int:
        """How many images go through the autoencoder at a time."""
        return max(1, CODED // math.prod(self.image_shape))

    @torch.no_grad()
    def conditions(self, prompts: Sequence[str | None]) -> Tensor:
        """What the network is told of each prompt, None or "" for no words: (n, tokens, width)."""
        if len(self.known) > REMEMBERED:
            self.known.clear()
        new = sorted({prompt or "" for prompt in prompts} - self.known.keys())
        if new:
            words = self.tokenizer(new, padding="max_length", truncation=True, return_tensors="pt").input_ids
            with visiting(self.text_encoder, self.device) as text_encoder:
                self.known.update(zip(new, text_encoder(words.to(self.device)).last_hidden_state.float(), strict=True))
        return torch.stack([self.known[prompt or ""] for prompt in prompts])

    def predict_noise(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """epsilon_theta(x_t, t, c) in float32 for x_t (n, c, h, w), integer timesteps t (n,) and conditions."""
        with autocast(self.device):
            predicted = self.unet(noisy.contiguous(memory_format=torch.channels_last), t, condition).sample.float()
        return self.noise_in(predicted, noisy, t)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Scaled latents (the encoder's means) of uint8 images (n, 3, h, w)."""
        with visiting(self.vae, self.device) as vae, autocast(self.device):
            parts = [vae.encode(from_uint8(part).to(self.device)) for part in images.split(self.coded)]
            return torch.cat([part.latent_dist.mean.float() for part in parts]) * vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, states: Tensor) -> Tensor:
        """uint8 images (n, 3, h, w) on the CPU."""
        latents = (states / self.vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        with visiting(self.vae, self.device) as vae, autocast(self.device):
            return torch.cat([to_uint8(vae.decode(part).sample.float()) for part in latents.split(self.coded)])

    def save(self, folder: Path) -> None:
        """Write a folder that `StableDiffusionPipeline.from_pretrained` loads; safetensors only, in full precision."""
        transformers_logging.set_verbosity_error()  # the next line would advise to install torchvision
        from diffusers import StableDiffusionPipeline

        whole = self
        if self.folder and any(value.dtype != torch.float32 for value in self.unet.parameters()):
            whole = load_model(self.folder, large=math.inf)  # what was fixed, as precise as it was
            whole.unet.load_state_dict({name: value.cpu() for name, value in self.trained.items()}, strict=False)
        StableDiffusionPipeline(
            vae=whole.vae,
            text_encoder=whole.text_encoder,
            tokenizer=whole.tokenizer,
            unet=whole.unet,
            scheduler=whole.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder, safe_serialization=True)


Model = DDPM | StableDiffusion


def load_model(folder: Path, device: str = "cpu", large: float = LARGE) -> Model:
    """Load a plain diffusers folder of an unconditional DDPM or of a Stable Diffusion v1-class model.

    The network and noise schedule of a DDPM may also lie beside its model_index.json, as the first ones on the hub have them.

    A text-to-image network with latents of at least `large`² is held in bfloat16 where the hardware computes that natively
    (but for what `train_only` frees), and its activations are computed again in the backward pass.

    Raises:
        UserError: if the folder does not hold such a model, or only in a format that would be unpickled, or the model is of a
            kind that cannot be unlearned here.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"'{folder}' is not a diffusers model folder: it has no model_index.json.")
    try:
        parts = json.loads(index.read_text())
        name, scheduler_name = parts["_class_name"], parts["scheduler"][1]
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"'{index}' could not be read: {first_line(error)}") from error
    text_to_image = name == TEXT_TO_IMAGE
    if not text_to_image and name not in WORDLESS:
        raise UserError(f"'{folder}' is a {name}; what can be unlearned are {', '.join((*WORDLESS, TEXT_TO_IMAGE))}.")
    in_unet = part_of(folder, "unet")
    needed = [folder / path for path in TEXT_TO_IMAGE_PARTS] if text_to_image else [in_unet / WEIGHTS]
    for path in needed:
        if not path.is_file():
            raise UserError(
                f"'{folder}' has no {path.relative_to(folder)}, and weights in other formats are not loaded, as they may run "
                f"code; where you trust them, save them anew with diffusers' {name}.from_pretrained('{folder}')"
                ".save_pretrained('NEW'), and give the folder NEW."
            )
    # Without low_cpu_mem_usage=False, diffusers advises to install accelerate, which is not needed.
    how = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
    network = UNet2DConditionModel if text_to_image else UNet2DModel
    try:
        unet, loaded = network.from_pretrained(in_unet, output_loading_info=True, **how)
        scheduler = DDPMScheduler.from_pretrained(part_of(folder, "scheduler"), local_files_only=True)
        if text_to_image:
            vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **how)
            text_encoder = CLIPTextModel.from_pretrained(
                folder, subfolder="text_encoder", use_safetensors=True, local_files_only=True, dtype=torch.float32
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    except (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        kind = "a Stable Diffusion model" if text_to_image else "an unconditional DDPM"
        raise UserError(f"'{folder}' could not be read as {kind}: {first_line(error)}") from error
    if scheduler_name not in COMPATIBLE_SCHEDULERS:
        raise UserError(
            f"'{folder}' has a {scheduler_name}, whose noise schedule is not DDPM's; such models cannot be unlearned."
        )
    if (predicts := scheduler.config.prediction_type) not in PREDICTIONS:
        raise UserError(f"'{folder}' predicts '{predicts}'; what can be unlearned predicts {' or '.join(PREDICTIONS)}.")
    if (steps := scheduler.config.num_train_timesteps) != TIMESTEPS:
        raise UserError(f"'{folder}' has {steps:,} timesteps; what can be unlearned has {TIMESTEPS:,}.")
    if absent := loaded["missing_keys"]:  # diffusers would go on with random ones
        raise UserError(f"'{folder}' lacks {len(absent)} of its network's parameters, such as {min(absent)}.")
    digest = digest_of(needed)
    if not text_to_image:
        if why := unfit(unet):
            raise UserError(f"'{folder}' cannot be unlearned: {why}.")
        return DDPM(unet.to(device).to(memory_format=torch.channels_last).eval(), scheduler, device, digest, folder)
    told, seen = unet.config.cross_attention_dim, unet.config.in_channels
    if (told, seen) != (text_encoder.config.hidden_size, vae.config.latent_channels):
        raise UserError(
            f"'{folder}' is not of Stable Diffusion v1's kind: its network takes {seen} channels and words of width {told}, "
            f"its other parts give {vae.config.latent_channels} and {text_encoder.config.hidden_size}."
        )
    if is_large(unet.config.sample_size, large):
        unet.enable_gradient_checkpointing()
        if has_bfloat16(device):
            unet, vae, text_encoder = (part.to(torch.bfloat16) for part in (unet, vae, text_encoder))
    elif device == "cpu":  # at small sizes the fused attention's backward takes as long as all the rest
        unet.set_attn_processor(AttnProcessor())
    unet = unet.to(device).to(memory_format=torch.channels_last).eval()
    vae, text_encoder = vae.to(memory_format=torch.channels_last).eval(), text_encoder.eval()
    return StableDiffusion(unet, scheduler, device, digest, folder, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer)


def part_of(folder: Path, part: str) -> Path:
    """Where a model has a part: in a folder of that name, or else at its root, as diffusers itself looks for it."""
    return folder / part if (folder / part).is_dir() else folder


def unfit(unet: UNet2DModel) -> str | None:
    """Why a network that takes no words is none that can be unlearned here; None if it can."""
    told, seen, drawn = unet.config, unet.config.in_channels, unet.config.out_channels
    reasons = {
        "its network must be told a class, and there is none to tell": told.num_class_embeds or told.class_embed_type,
        f"its network takes {seen} channels and gives {drawn}, and should give the noise alone": seen != drawn,
        "its configuration does not say of what size its images are (sample_size)": not told.sample_size,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def is_large(size: int | Sequence[int], large: float) -> bool:
    """Whether states of a size, as a network's configuration gives it, have at least `large`² places."""
    return (size if isinstance(size, int) else min(size)) >= large


def digest_of(paths: list[Path]) -> str:
    """A hash of some files, read in pieces: together they may be larger than memory."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()[:16]


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def from_uint8(images: Tensor) -> Tensor:
    """uint8 images to floats in [-1, 1], on their device."""
    return images.float() / 127.5 - 1


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a sentence that must stay one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

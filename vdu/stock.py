"""Model folders in other hands: loaded and drawn by plain diffusers, with the samplers that people are used to.

Each sampler is made of the folder's scheduler by `from_config`, as the documentation of diffusers has it.
"""

import copy
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdu.errors import UserError, first_line
from vdu.models import has_bfloat16
from vdu.threads import side_by_side, worker_count

STOCK: dict[str, tuple[str, int]] = {  # sampler -> class in diffusers, steps
    "DDPM": ("DDPMScheduler", 1000), "DDIM": ("DDIMScheduler", 50), "PNDM": ("PNDMScheduler", 50),
    "Euler": ("EulerDiscreteScheduler", 30), "DPM++ 2M": ("DPMSolverMultistepScheduler", 20),
    "UniPC": ("UniPCMultistepScheduler", 20),
}  # fmt: skip
BATCH, PROMPTED_BATCH = 32, 8  # images at once; with prompts fewer, since a batch tells no progress before its end


def half_precision(device: str) -> torch.dtype | None:
    """What people load a model in to save time and memory: float16 on a GPU, bfloat16 on a CPU that computes it natively.

    None on other CPUs. In float16 a CPU takes seventeen times as long as in float32, as most lack its operations.
    """
    if device != "cpu":
        return torch.float16
    return torch.bfloat16 if has_bfloat16(device) else None


def name_of(precision: torch.dtype) -> str:
    """Its name: "bfloat16"."""
    return str(precision).removeprefix("torch.")


def plain_pipeline(folder: Path, variant: str = "", device: str = "cpu", precision: torch.dtype = torch.float32) -> Any:
    """The diffusers pipeline in a folder.

    Args:
        folder: with model_index.json; variant: of the files of its weights, "" for none.
        device: "cpu" or "cuda".
        precision: of all its weights.

    Raises:
        UserError: if diffusers cannot load the folder.
    """
    import diffusers

    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder, use_safetensors=True, variant=variant or None, dtype=precision
        )
    except (OSError, ValueError) as error:
        raise UserError(f"diffusers could not load '{folder}': {first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def with_sampler(pipeline: Any, sampler: str) -> Any:
    """A pipeline that shares the networks, and has its own copy of whatever changes while it draws, to draw in a thread."""
    import diffusers

    other = copy.copy(pipeline)
    for name, part in pipeline.components.items():
        if "tokenizer" in name:
            setattr(other, name, copy.deepcopy(part))
    other.scheduler = getattr(diffusers, STOCK[sampler][0]).from_config(pipeline.scheduler.config)
    return other


def draw_plain(
    pipeline: Any,
    sampler: str,
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    prompts: Sequence[str] | None = None,
    guidance: float = 1.0,
) -> Generator[int, None, Tensor]:
    """Images by a stock sampler, with the steps of `STOCK`; yields how many images times steps are done so far.

    Args:
        pipeline: see `plain_pipeline`; sampler: a key of `STOCK`.
        seeds: one per image; shape: of a state, without prompts.
        prompts: one per image, for a pipeline that takes them; guidance: how closely it keeps to them.

    Returns:
        uint8 images (n, c, h, w) on the CPU, as the generator's return value.
    """
    size, done, batches = PROMPTED_BATCH if prompts else BATCH, 0, []
    for first in range(0, len(seeds), size):
        part, own = seeds[first : first + size], with_sampler(pipeline, sampler)
        if prompts:
            batches.append(prompted(own, STOCK[sampler][1], part, prompts[first : first + size], guidance))
        else:
            batches.append(unprompted(own, STOCK[sampler][1], part, shape))
    with closing(side_by_side(batches, worker_count(pipeline.device.type))) as stream:
        while True:
            try:
                done += next(stream)
            except StopIteration as end:
                return (torch.cat(end.value) * 255).round().to(torch.uint8).cpu()
            yield done


def generators_of(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator per image, so that an image does not depend on the others."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def prompted(
    pipeline: Any, steps: int, seeds: Sequence[int], prompts: Sequence[str], guidance: float
) -> Generator[int, None, Tensor]:
    """One batch of a text-to-image pipeline, in 0 … 1 (n, c, h, w), by the pipeline itself."""
    images = pipeline(
        [*prompts], num_inference_steps=steps, guidance_scale=guidance, generator=generators_of(seeds), output_type="pt"
    ).images
    yield steps * len(seeds)
    return images.float()


@torch.no_grad()
def unprompted(pipeline: Any, steps: int, seeds: Sequence[int], shape: tuple[int, ...]) -> Generator[int, None, Tensor]:
    """One batch of an unconditional model, in 0 … 1 (n, c, h, w), by the loop that every sampler of diffusers is made for."""
    scheduler, generators = pipeline.scheduler, generators_of(seeds)
    scheduler.set_timesteps(steps)
    state = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(
        pipeline.device, pipeline.unet.dtype
    )
    state = state * scheduler.init_noise_sigma
    noise = {"generator": generators} if "DDPM" in type(scheduler).__name__ else {}
    for number, t in enumerate(scheduler.timesteps):
        predicted = pipeline.unet(scheduler.scale_model_input(state, t), t).sample
        state = scheduler.step(predicted, t, state, **noise).prev_sample
        if number < steps:  # PNDM takes some more
            yield len(seeds)
    return (state.float() / 2 + 0.5).clamp(0, 1)

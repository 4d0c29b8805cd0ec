"""`python -m vdu bench samplers`: how well the samplers of plain diffusers draw a model that ships.

People draw a folder with the sampler that they are used to. Each is made of the folder's scheduler by `from_config`, as the
documentation of diffusers has it, and the judge says in how many of the images it sees some class clearly.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from vdu.bench.tables import read_rows, table
from vdu.catalog import CATALOG, Entry
from vdu.errors import UserError
from vdu.intervals import wilson
from vdu.samples import judged
from vdu.task import open_model

CLEAR = 0.8  # probability of its class from which an image is clear
GUIDANCE = 3.0  # for models that take prompts
BATCH = 60  # images that are drawn at once
STOCK: dict[str, tuple[str, int]] = {  # sampler -> class in diffusers, steps
    "DDPM": ("DDPMScheduler", 1000), "DDIM": ("DDIMScheduler", 50), "PNDM": ("PNDMScheduler", 50),
    "Euler": ("EulerDiscreteScheduler", 30), "DPM++ 2M": ("DPMSolverMultistepScheduler", 20),
    "UniPC": ("UniPCMultistepScheduler", 20),
}  # fmt: skip


def samplers(name: str, wanted: Sequence[str], count: int, target: Path, show: Callable[[str], object]) -> None:
    """Draw with every sampler; print a Markdown table and write its rows as JSON.

    Args:
        name: a catalog model; wanted: keys of `STOCK`; count: images per sampler; target: JSON file to write.
        show: called with one line per sampler.

    Raises:
        UserError: if there is no such catalog model.
    """
    if name not in CATALOG:
        raise UserError(f"'{name}' does not ship with a judge; choose one of {', '.join(CATALOG)}.")
    entry = CATALOG[name]
    rows = read_rows(target, "sampler") if target.exists() else []
    done = {row["sampler"] for row in rows if row["model"] == name and row["images"] == count}
    for sampler in wanted:
        if sampler in done:
            continue
        clear = count_clear(entry, sampler, count)
        low, high = wilson(clear, count)
        rows.append({"model": name, "sampler": sampler, "steps": STOCK[sampler][1], "images": count, "clear": clear / count,
                     "clear_ci95": [low, high]})  # fmt: skip
        target.write_text(json.dumps(rows, indent=1) + "\n")
        show(f"{sampler}: {clear} of {count} are clear")
    print(table(["model", "sampler", "steps", "clear"], [line_of(row) for row in rows]))


def line_of(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    low, high = row["clear_ci95"]
    return [row["model"], row["sampler"], str(row["steps"]), f"{row['clear']:.1%} [{low:.1%}–{high:.1%}], n = {row['images']}"]


def count_clear(entry: Entry, sampler: str, count: int) -> int:
    """The number of images, of `count` by plain diffusers, of which the judge is sure on every axis."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(entry.folder, use_safetensors=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    kind, steps = STOCK[sampler]
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config)
    model, _, _ = open_model(entry.name, "cpu")
    concept = entry.concept(entry.classes[0])
    prompts = [spec.prompt for spec in concept.plan(count, concept.prompt_kinds)] if entry.takes_prompts else [None] * count
    clear = 0
    for first in range(0, count, BATCH):
        generators = [torch.Generator().manual_seed(seed) for seed in range(first, min(count, first + BATCH))]
        if entry.takes_prompts:
            asked = prompts[first : first + len(generators)]
            images = pipeline(
                asked, num_inference_steps=steps, guidance_scale=GUIDANCE, generator=generators, output_type="pt"
            ).images  # fmt: skip
        else:
            images = drawn(pipeline, steps, generators, model.shape)
        samples = judged((images * 255).round().to(torch.uint8), entry.judge, ())
        clear += int((samples.certainty(samples.classes) > CLEAR).sum())
    return clear


@torch.no_grad()
def drawn(pipeline: Any, steps: int, generators: list[torch.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    """Images in 0 … 1 (n, c, h, w) of an unconditional model, by the loop that every sampler of diffusers is made for."""
    pipeline.scheduler.set_timesteps(steps)
    state = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    state = state * pipeline.scheduler.init_noise_sigma
    noise = {"generator": generators} if "DDPM" in type(pipeline.scheduler).__name__ else {}
    for t in pipeline.scheduler.timesteps:
        predicted = pipeline.unet(pipeline.scheduler.scale_model_input(state, t), t).sample
        state = pipeline.scheduler.step(predicted, t, state, **noise).prev_sample
    return (state / 2 + 0.5).clamp(0, 1)

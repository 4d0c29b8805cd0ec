"""Time and memory at full size: `python -m vdu bench memory` takes VDU steps on a Stable Diffusion v1 of random weights.

It needs no internet. On a GPU the peak is that of PyTorch's allocator, on a CPU that of the whole process.
"""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vdu.assets import ASSETS
from vdu.bench.tables import read_rows, write_rows
from vdu.models import StableDiffusion, pick_device
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.run import Run
from vdu.samples import Samples
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.steps import take_steps
from vdu.system import peak_memory_mib

FORGET, PROMPT_TOKENS, REPLAYED = "a painting [by nobody]", 77, 24


def random_model(folder: Path) -> Path:
    """Write a diffusers folder with the architecture of Stable Diffusion v1, 512×512, and random weights: 4 GB.

    The vocabulary is that of `tiny-sd`, which does not change the cost of a step.
    """
    torch.manual_seed(0)
    text = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    coded = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    tokenizer = CLIPTokenizer.from_pretrained(ASSETS / "tiny-sd" / "tokenizer", local_files_only=True)
    tokenizer.model_max_length = PROMPT_TOKENS
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=DDIMScheduler(
            clip_sample=False, steps_offset=1, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
        ),
        vae=AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512, **coded),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(**text, num_attention_heads=12, max_position_embeddings=PROMPT_TOKENS, eos_token_id=2)
        ),
        tokenizer=tokenizer,
        **StableDiffusion.PIPELINE_OPTIONS,
    ).save_pretrained(folder, max_shard_size="1TB")
    return folder


def random_replay(run: Run) -> Replay:
    """Noise in place of the images that the model would draw, with verdicts as if each image showed what its prompt names."""
    concept = run.task.concept
    specs = concept.plan(run.recipe.replay)
    shape = len(specs), *run.model.image_shape
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([spec.classes if spec.in_place_of is None else (len(concept.classes) - 1,) for spec in specs])
    judged = torch.nn.functional.one_hot(classes[:, 0], len(concept.classes)).float()
    samples = Samples(images, judged, judged.double(), classes, tuple(specs))
    return Replay(concept, run.task.judge, run.recipe.how, image_seeds(0, len(specs)), samples)


def peak(device: str) -> float:
    """Peak memory in GiB: of this process, or on a GPU since the last reset of its statistics."""
    return peak_memory_mib(device, reserved=True) / 1024


def memory(
    model: str | None, batch_sizes: list[int], steps: int, work: Path, target: Path, show: Callable[[str], None]
) -> None:
    """Take steps of the default recipe and draw an image, at several batch sizes; write the seconds and peak memory of each.

    Args:
        model: a local diffusers folder of a Stable Diffusion; None for random weights of full size.
        batch_sizes: numbers of forget images per step; each step adds as many replayed images.
        steps: number of steps; the time of the first is not counted.
        work: folder for the random weights, which are reused the next time.
        target: JSON file to write, one row per batch size.
        show: called with one line per row.

    Raises:
        UserError: if `model` takes no prompts.
    """
    read_rows(target, "peak_gib")  # fails if the file is something else
    folder = Path(model) if model else work
    if not model and not (folder / "model_index.json").is_file():
        show("writing random weights …")
        random_model(folder)
    device, rows = pick_device("auto"), []
    for batch_size in batch_sizes:
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        recipe = Recipe(model=str(folder), forget=FORGET, keep="a dog", batch_size=batch_size, steps=steps, preview_every=500,
                        replay=REPLAYED)  # fmt: skip
        run = Run(recipe)
        run.replay, times = random_replay(run), [time.monotonic()]
        for _ in take_steps(run, run.model.clone()):
            if len(run.steps) == len(times):
                times.append(time.monotonic())
        seconds = (times[-1] - times[1]) / max(1, len(times) - 2)
        row = {
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "held_as": str(next(value.dtype for value in run.model.unet.parameters() if not value.requires_grad)),
            "parameters": sum(value.numel() for value in run.model.unet.parameters()),
            "trained": sum(value.numel() for value in run.model.trained.values()),
            "batch_size": batch_size,
            "seconds_a_step": seconds,
            "peak_gib": peak(device),
        }
        started = time.monotonic()
        run_to_end(sample(run.model, image_seeds(0, 1), HowToSample(2, "ode", run.recipe.guidance), ["a dog"]))
        row |= {"seconds_an_evaluation": (time.monotonic() - started) / 2, "peak_gib_with_drawing": peak(device)}
        rows.append(row)
        write_rows(rows, target)
        show(
            f"batch {batch_size}: {seconds:.2f} s per step, peak {row['peak_gib']:.1f} GiB; "
            f"{row['seconds_an_evaluation']:.2f} s per sampler step, peak {row['peak_gib_with_drawing']:.1f} GiB "
            f"({row['device']}, {row['held_as']})"
        )
        del run
        gc.collect()

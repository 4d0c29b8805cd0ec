"""`python -m vdu bench folders`: what people's folders draw here and in plain diffusers, pixel by pixel.

Every cell of the table is a tiny model of random weights in one of the forms of `bench.random_models`. Both sides
draw it by DPM-Solver++ with the same noise and timesteps in float32. "Same" is at most one level of 255 apart; else the folder
must have been refused, for a reason that the cell has.
"""

import inspect
import itertools
import os
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor

from vdu.bench import random_models
from vdu.bench.tables import table
from vdu.errors import UserError, first_line
from vdu.models import load_model
from vdu.sampling import HowToSample, fresh_noise, run_to_end, sample, timestep_grid

Cell = dict[str, str]
Pair = tuple[tuple[str, str], tuple[str, str]]  # (factor, value) twice, in alphabetical order
STEPS, GUIDANCE, SEEDS = 6, 3.0, (11, 12, 13)
PROMPTS = ("a cat", "the <thing> on a mat", "")
CLOSE = 1  # levels of 255 by which the same image may differ
ALIKE = 8.0  # least standard deviation of an image's levels for which agreement says anything
TRIED = 6  # missing pairs from which the next cell is begun, to take the best

# factor -> value -> why a folder with it must be refused, as a part of the sentence; "" if it must be drawn.
FACTORS: dict[str, dict[str, str]] = {
    "pipeline": {
        "DDPMPipeline": "", "DDIMPipeline": "", "StableDiffusionPipeline": "", "StableDiffusionImg2ImgPipeline": "",
        "StableDiffusionXLPipeline": "", "StableDiffusionXLImg2ImgPipeline": "",
        "StableDiffusionInpaintPipeline": "is a StableDiffusionInpaintPipeline",
    },
    "scheduler": dict.fromkeys((
        "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler",
        "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DEISMultistepScheduler",
        "SASolverScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler", "DDIMInverseScheduler",
        "DPMSolverMultistepInverseScheduler", "LCMScheduler", "TCDScheduler", "RePaintScheduler", "UnCLIPScheduler",
    ), "") | {
        "FlowMatchEulerDiscreteScheduler": "flow matching", "EDMEulerScheduler": "has no alpha-bar_t",
        "IPNDMScheduler": "has no alpha-bar_t", "ScoreSdeVeScheduler": "has no alpha-bar_t",
        "CogVideoXDDIMScheduler": "do not follow from its betas",
    },
    "betas": dict.fromkeys((
        "linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp", "trained"), ""),
    "prediction": {"epsilon": "", "v_prediction": "", "sample": "", "flow_prediction": "flow matching"},
    "spacing": dict.fromkeys(("leading", "linspace", "trailing"), ""),
    "zero SNR": {"no": "", "yes": ""},
    "sampler": dict.fromkeys((
        "plain", "Karras", "exponential", "beta", "order 3", "order 1", "thresholding", "clipping"), "") | {
        "flow": "flow matching"},
    "files": dict.fromkeys((
        "whole", "fp16 variant", "fp16 in full", "shards", "fp16 shards", "whole and fp16 variant", "a variant of its own",
    ), "") | {"pickles": "weights in other formats", "a missing key": "lacks 1 of the parameters"},
    "autoencoder": {"none": "", "KL": "", "tiny": "", "asymmetric": "", "consistency decoder": "has as its vae a Consistency"},
    "words": {"none": "", "CLIP": "", "learned word": "", "T5": "encodes its words with a T5EncoderModel",
              "projected": "encodes its words with a CLIPTextModelWithProjection"},
    "configuration": dict.fromkeys((
        "as saved", "all at the root", "size as a pair", "no length of prompts", "optional parts absent",
        "scheduler without its class"), "") | {"no size": "does not state the size", "a class label": "class"},
}  # fmt: skip
# factor -> setting of a scheduler
SETTINGS = {"betas": "beta_schedule", "prediction": "prediction_type", "spacing": "timestep_spacing",
            "zero SNR": "rescale_betas_zero_snr"}  # fmt: skip
DECISIVE = ("scheduler", "sampler", *SETTINGS)  # factors that decide whether diffusers has such a scheduler
PIXELS = ("DDPMPipeline", "DDIMPipeline")
PROMPTED = tuple(name for name in FACTORS["pipeline"] if name not in PIXELS)
# factor, values, another factor, its values: no model of diffusers has both.
IMPOSSIBLE: tuple[tuple[str, Sequence[str], str, Sequence[str]], ...] = (
    ("pipeline", PROMPTED, "autoencoder", ("none",)),
    ("pipeline", PROMPTED, "words", ("none",)),
    ("pipeline", PIXELS, "autoencoder", [name for name in FACTORS["autoencoder"] if name != "none"]),
    ("pipeline", PIXELS, "words", [name for name in FACTORS["words"] if name != "none"]),
    ("autoencoder", ("none",), "words", [name for name in FACTORS["words"] if name != "none"]),
    ("words", ("none",), "autoencoder", [name for name in FACTORS["autoencoder"] if name != "none"]),
    ("pipeline", PIXELS, "configuration", ("no length of prompts", "optional parts absent")),
    ("pipeline", PROMPTED, "configuration", ("all at the root",)),
    ("files", ("fp16 variant", "fp16 shards", "a variant of its own"), "configuration", ("all at the root",)),
    ("pipeline", PROMPTED[1:], "configuration", ("size as a pair",)),
    ("pipeline", ("DDIMPipeline",), "betas", ("sigmoid", "exp", "laplace")),
)
SAMPLERS: dict[str, dict[str, Any]] = {
    "plain": {}, "Karras": {"use_karras_sigmas": True}, "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True}, "order 3": {"solver_order": 3}, "order 1": {"solver_order": 1},
    "thresholding": {"thresholding": True}, "clipping": {"clip_sample": True},
    "flow": {"use_flow_sigmas": True},
}  # fmt: skip


def settings_of(cell: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a cell's scheduler; values that are the first of their factor are left to the class."""
    wanted = {SETTINGS[factor]: cell[factor] for factor in SETTINGS if cell[factor] != next(iter(FACTORS[factor]))}
    if "rescale_betas_zero_snr" in wanted:
        wanted["rescale_betas_zero_snr"] = True
    if cell["betas"] == "trained":
        wanted |= {"beta_schedule": "linear", "trained_betas": np.linspace(2e-4, 0.018, 1000).tolist()}
    return wanted | SAMPLERS[cell["sampler"]]


@cache
def can_be_made(*values: str) -> bool:
    """Whether diffusers has a scheduler that takes the values of `DECISIVE`."""
    cell = {factor: next(iter(names)) for factor, names in FACTORS.items()} | dict(zip(DECISIVE, values, strict=True))
    kind, settings = getattr(diffusers, cell["scheduler"]), settings_of(cell)
    try:
        kind(**settings)
    except (NotImplementedError, ValueError, TypeError):
        return False
    return settings.keys() <= inspect.signature(kind.__init__).parameters.keys()


def possible(cell: Mapping[str, str]) -> bool:
    """Whether diffusers has such a model, as far as the cell is filled, with at most one reason to refuse it."""
    for first, values, second, others in IMPOSSIBLE:
        if cell.get(first) in values and cell.get(second) in others:
            return False
    if sum(bool(FACTORS[factor][value]) for factor, value in cell.items()) > 1:
        return False
    if "scheduler" not in cell:
        return True
    # One setting at a time: what a class takes of each it takes of all.
    firsts = {factor: next(iter(FACTORS[factor])) for factor in DECISIVE}
    return all(
        can_be_made(*(firsts | {"scheduler": cell["scheduler"], factor: cell[factor]}).values())
        for factor in DECISIVE if factor in cell
    )  # fmt: skip


def completed(start: Cell, chance: random.Random, missing: Set[Pair] = frozenset()) -> Cell | None:
    """A possible cell that tests the given values, with the most missing pairs besides; None if chance finds none."""
    for _ in range(20):
        cell, names = dict(start), [name for name in FACTORS if name not in start]
        chance.shuffle(names)
        for name in names:
            values = [value for value, reason in FACTORS[name].items() if not reason and possible(cell | {name: value})]
            gains = [len(pairs_of(cell | {name: value}) & missing) for value in values]
            if not values:
                break
            cell[name] = chance.choice([value for value, gain in zip(values, gains, strict=True) if gain == max(gains)])
        if len(cell) == len(FACTORS):
            return {name: cell[name] for name in FACTORS}
    return None


def pair(first: tuple[str, str], second: tuple[str, str]) -> Pair:
    """Two values of two factors, in whichever order."""
    return (first, second) if first < second else (second, first)


def pairs_of(cell: Mapping[str, str]) -> set[Pair]:
    """The pairs of values that a cell tests: if one of them is a reason to refuse it, its pairs alone."""
    reasons = {(factor, value) for factor, value in cell.items() if FACTORS[factor][value]}
    return {pair(*two) for two in itertools.combinations(cell.items(), 2) if not reasons or reasons & set(two)}


def pairwise(seed: int = 0) -> list[Cell]:
    """Cells in which every possible pair of values of two factors occurs, by greedy choice."""
    chance = random.Random(seed)
    missing = {
        pair((first, value), (second, other))
        for first, second in itertools.combinations(FACTORS, 2)
        for value, other in itertools.product(FACTORS[first], FACTORS[second])
        if possible({first: value, second: other}) and completed({first: value, second: other}, chance)
    }
    cells: list[Cell] = []
    while missing:
        starts = chance.sample(sorted(missing), min(TRIED, len(missing)))
        found = [cell for start in starts if (cell := completed(dict(start), chance, missing))]
        if not found:  # by bad luck alone, since each was completed before
            continue
        cells.append(max(found, key=lambda cell: len(pairs_of(cell) & missing)))
        missing -= pairs_of(cells[-1])
    return cells


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: "same", "refused" or the name of a fault, its sentence, and the largest difference in levels."""

    word: str
    said: str = ""
    apart: int | None = None


@contextmanager
def in_float32() -> Iterator[None]:
    """Compute without bfloat16, as plain diffusers does."""
    before = os.environ.get("ONEDNN_MAX_CPU_ISA")
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    try:
        yield
    finally:
        os.environ.pop("ONEDNN_MAX_CPU_ISA")
        if before is not None:
            os.environ["ONEDNN_MAX_CPU_ISA"] = before


def ours(folder: Path, prompts: bool) -> tuple[Tensor, list[int]]:
    """What this package draws, uint8 (n, c, h, w), and its timesteps."""
    model = load_model(folder)
    asked = list(PROMPTS) if prompts else None
    with in_float32():
        drawn = run_to_end(sample(model, list(SEEDS), HowToSample(STEPS, "ode", GUIDANCE), asked))
    return drawn, timestep_grid(STEPS, model.first_timestep)


def plain(folder: Path, cell: Mapping[str, str], timesteps: list[int]) -> Tensor:
    """What plain diffusers draws from the same noise at the same timesteps, uint8 (n, c, h, w)."""
    variant = {"a variant of its own": "mine", "fp16 variant": "fp16", "fp16 shards": "fp16"}.get(cell["files"])
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, variant=variant, torch_dtype=torch.float32)
    if "Img2Img" in cell["pipeline"]:
        pipeline = diffusers.AutoPipelineForText2Image.from_pipe(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    if cell["configuration"] == "no length of prompts":  # of which plain diffusers cannot draw several at once
        pipeline.tokenizer.model_max_length = pipeline.text_encoder.config.max_position_embeddings
    config, betas = pipeline.scheduler.config, pipeline.scheduler.betas
    late = timesteps[0] < len(betas) - 1
    solver = pipeline.scheduler = diffusers.DPMSolverMultistepScheduler(
        trained_betas=betas.tolist(), prediction_type=config.get("prediction_type", "epsilon"),
        thresholding=late and bool(config.get("clip_sample")) and cell["words"] == "none",
    )  # fmt: skip
    solver.alphas_cumprod = solver.alphas_cumprod.clamp_min(2**-24)  # as its rescale_betas_zero_snr does
    size = pipeline.unet.config.sample_size
    shape = (pipeline.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))
    state = fresh_noise([torch.Generator().manual_seed(seed) for seed in SEEDS], shape)
    if cell["words"] != "none":
        given = {"prompt": list(PROMPTS), "guidance_scale": GUIDANCE, "latents": state, "output_type": "pt"}
        return levels(pipeline(**given, timesteps=timesteps).images)
    solver.set_timesteps(timesteps=timesteps)
    with torch.no_grad():
        for t in solver.timesteps:
            state = solver.step(pipeline.unet(state, t).sample, t, state).prev_sample
    return levels((state / 2 + 0.5).clamp(0, 1))


def levels(images: Tensor) -> Tensor:
    """Images in 0 … 1 as levels, uint8."""
    return (images * 255).round().to(torch.uint8)


def outcome(cell: Cell, folder: Path) -> Outcome:
    """Make a cell's folder and draw it on both sides."""
    reason = next((reason for factor, value in cell.items() if (reason := FACTORS[factor][value])), "")
    model = random_models.make(cell, settings_of(cell), folder)
    try:
        drawn, timesteps = ours(model, cell["words"] != "none")
    except UserError as error:
        said = str(error).replace(str(model), "FOLDER")
        return Outcome("refused" if reason and reason in said else "refused without its reason", said)
    except Exception as error:
        return Outcome("crashed", f"{type(error).__name__}: {error}")
    if reason:
        return Outcome("drawn, where it must be refused")
    try:
        expected = plain(model, cell, timesteps)
    except Exception as error:
        return Outcome("drawn, where plain diffusers fails", first_line(error))
    apart = int((drawn.int() - expected.int()).abs().max())
    if expected.float().std() < ALIKE:
        return Outcome("too flat to tell", apart=apart)
    return Outcome("same" if apart <= CLOSE else "different", apart=apart)


def folders(out: Path, show: Callable[[str], object], cells: Sequence[Cell] | None = None) -> bool:
    """Draw all cells, and write the table as Markdown; whether every cell is the same or refused.

    Args:
        out: the file to write; show: gets a line per cell; cells: some of the cells only, for a short run.
    """
    wanted = list(cells if cells is not None else pairwise())
    found: list[Outcome] = []
    diffusers.logging.set_verbosity_error()
    for number, cell in enumerate(wanted):
        with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(outcome(cell, Path(work)))
        show(f"{number + 1}/{len(wanted)} {found[-1].word} {found[-1].said[:60]}")
    out.write_text(report(wanted, found), encoding="utf-8")
    return all(one.word in ("same", "refused") for one in found)


def report(cells: Sequence[Cell], found: Sequence[Outcome]) -> str:
    """The page: how many cells, every sentence, every cell."""
    sentences = list(dict.fromkeys(one.said for one in found if one.said))
    counts = Counter(one.word for one in found)
    lines = []
    for number, (cell, one) in enumerate(zip(cells, found, strict=True)):
        detail = f" ({sentences.index(one.said) + 1})" if one.said else f", {one.apart}"
        lines.append([str(number + 1), *(cell[factor] for factor in FACTORS), one.word + detail])
    total = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    said = "\n".join(f"{number + 1}. {sentence}" for number, sentence in enumerate(sentences))
    page = Path(__file__).parents[1] / "templates" / "compatibility.md"
    values = {"cells": len(cells), "total": total, "diffusers": diffusers.__version__, "sentences": said}
    return page.read_text(encoding="utf-8").format(**values, table=table(["", *FACTORS, "outcome"], lines))

"""What a run leaves behind: report.json, picture sheets, the trajectory, and the unlearned model as a diffusers folder."""

import csv
import json
import platform
import re
import resource
import shutil
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData
from PIL import Image, ImageDraw
from torch import Tensor

from vdu import metrics
from vdu.concepts.base import history
from vdu.events import Preview
from vdu.methods import METHODS
from vdu.models.hub import is_id
from vdu.run import Run

PACKAGES = ("torch", "diffusers", "gradio")
SCALE, COLUMNS, GAP = 3, 8, 3  # of a sheet: pixels a model pixel, images a row, pixels between images
LARGEST = 256  # pixels of an image on a sheet at most; larger ones are reduced
FRAME, PAPER = (232, 74, 63), (24, 26, 32)

Report = dict[str, Any]


def peak_memory_mib(device: str) -> float:
    """Peak memory so far in MiB: of this process on the CPU, of its tensors on the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report_of(run: Run) -> Report:
    """The figures of a run, whole or stopped, as plain values; `after` is None if the run was stopped before measuring."""
    recipe, concept, rates = run.recipe, run.task.concept, run.task.judge.error_rates
    before, after = run.figures.get("before"), run.figures.get("after")
    past, shown = history(run.model.folder), concept.display_name
    seconds = run.seconds
    # Where on this machine a folder lies is nobody else's business, and a page's folders are gone soon.
    paths = {name: Path(getattr(recipe, name)) for name in ("pictures", "keep")}
    portable = {name: path.name for name, path in paths.items() if path.is_absolute()}
    return {
        "model": recipe.model,
        "forget": shown,
        "forgotten": [*(name for name in past["forgotten"] if name != shown), *([shown] if run.after and run.scale else [])],
        "method": recipe.method,
        "recipe": recipe.to_dict() | portable,
        "earlier": past["recipes"],
        "seed": recipe.seed,
        "samples": recipe.samples,
        "before": before,
        "after": after,
        **({"judge": rates.to_dict()} if rates else {}),
        "images_seen": run.images_seen,
        "pul": metrics.percentage_of_unlearning(before["forget_rate"], after["forget_rate"]) if after else None,
        "u_fid": after["retain_fid"] if after else None,
        "steps_taken": len(run.steps),
        "scale": run.scale,
        "stopped_because": run.reason,
        "previews": [{"step": look.step, "forget_rate": look.forget_rate, "damage": look.damage} for look in run.previews],
        "seconds": {name: round(value, 2) for name, value in (seconds | {"total": sum(seconds.values())}).items()},
        "peak_memory_mib": round(peak_memory_mib(run.model.device)),
        "device": f"{run.model.device} ({torch.get_num_threads()} threads, {platform.machine()})",
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }


def as_picture(pixels: Tensor) -> Image.Image:
    """A uint8 image (c, h, w) as a picture."""
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy())


def sheet(images: Tensor, framed: Tensor) -> Image.Image:
    """Images (n, c, h, w), uint8, in rows of eight on dark paper; those in `framed` (n,) get a red frame."""
    count, _, height, width = images.shape
    scale = min(SCALE, LARGEST / max(height, width))
    size, resampling = (round(width * scale), round(height * scale)), Image.Resampling.NEAREST
    if scale < 1:
        resampling = Image.Resampling.LANCZOS
    cell_width, cell_height = (side + 2 * GAP for side in size)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    page = Image.new("RGB", (columns * cell_width, rows * cell_height), PAPER)
    draw = ImageDraw.Draw(page)
    for position, (pixels, red) in enumerate(zip(images, framed.tolist(), strict=True)):
        left, top = position % columns * cell_width, position // columns * cell_height
        picture = as_picture(pixels).convert("RGB")
        if red:
            draw.rectangle([left, top, left + cell_width - 1, top + cell_height - 1], fill=FRAME)
        page.paste(picture.resize(size, resampling), (left + GAP, top + GAP))
    return page


def preview_sheet(preview: Preview) -> Image.Image:
    """The picture sheet of a preview: rows of eight, the forgotten class framed."""
    return sheet(preview.images, preview.forgotten)


def headline(report: Report) -> str:
    """The run in two sentences, in words."""
    forget, before, after, judge = report["forget"], report["before"], report["after"], report.get("judge")
    if before is None:
        return "Stopped before anything was measured."
    worded = "ira" in before
    subject = f"Asked for “{forget}”, the model drew it" if worded else f"The model drew {a(forget)}"
    if judge:  # a name of the user's own, which no article need fit
        subject = f"The model drew “{forget}”"
    drew = f"{subject} in {percent(before['forget_rate'])} % of samples"
    if after is None:
        last = report["previews"][-1]
        return f"{drew}. Stopped at step {report['steps_taken']}: by the previews about {percent(last['forget_rate'])} % now."
    low, high = after["forget_rate_ci95"]
    text = f"{drew}; now in {percent(after['forget_rate'])} % [{percent(low)}–{percent(high)}]."
    if worded:
        text += f" Other prompts still right: {percent(before['ira'])} → {percent(after['ira'])} %."
    elif after["retain_fid"] is not None and before["retain_fid"] is not None:
        text += f" The other classes: u-FID {before['retain_fid']:.2f} → {after['retain_fid']:.2f}."
    for name, rates in after.get("forgotten_before", {}).items():
        low, high = rates["forget_rate_ci95"]
        text += f" Forgotten before: {name}, now in {percent(rates['forget_rate'])} % [{percent(low)}–{percent(high)}]."
    if judge:
        text += f" {fitted_words(judge)}"
    return f"{text} {report['seconds']['unlearn']:.0f} s."


def fitted_words(judge: dict[str, Any]) -> str:
    """What a fitted judge is worth, in a sentence."""
    known, taken = percent(judge["sensitivity"]), percent(1 - judge["specificity"])
    others = f"{judge['kept']} pictures to keep" if judge["kept"] else f"{judge['drawn']} drawn images, rightly or not"
    return (
        f"The judge was fitted on {judge['pictures']} pictures: in cross-validation it knew {known} % of them, "
        f"and took for them {taken} % of {others}."
    )


def a(name: str) -> str:
    """A class with its article: "a 3", "an 8"."""
    return f"{'an' if name[0].lower() in 'aeio8' else 'a'} {name}"


def percent(rate: float) -> str:
    """A rate as a percentage with one decimal."""
    return f"{100 * rate:.1f}"


CARD = {  # figure -> what a model card calls it, and how it is written there
    "forget_rate": ("forget rate", "{:.2%}"),
    "forget_rate_corrected": ("forget rate, corrected for the judge's errors", "{:.2%}"),
    "paraphrase_rate": ("forget rate in other words", "{:.2%}"),
    "ira": ("other prompts right (IRA)", "{:.2%}"),
    "cra": ("the other axis right (CRA)", "{:.2%}"),
    "retain_fid": ("u-FID (judge features)", "{:.3f}"),
}


def gone(report: Report) -> list[str]:
    """What a model goes by as being without: all that it has forgotten, or where nothing came of it, what it should have."""
    return report["forgotten"] or [report["forget"]]


def model_card(report: Report) -> str:
    """A README.md for the unlearned model, with its figures for people and, as a model-index, for the hub.

    A model that came from a folder goes by that folder's name alone.
    """
    before, after, worded = report["before"], report["after"] or {}, "ira" in (report["before"] or {})
    from_hub = is_id(report["model"]) and not Path(report["model"]).is_dir()
    name = report["model"] if from_hub else Path(report["model"]).name
    title = f"{name} without {' or '.join(gone(report))}"
    measured = {key: how for key, how in CARD.items() if None not in (after.get(key), before and before.get(key))}
    results = [
        EvalResult(
            task_type="text-to-image" if worded else "unconditional-image-generation",
            dataset_type="samples",
            dataset_name=f"{report['samples']:,} samples of the model itself",
            metric_type=key,
            metric_name=words,
            metric_value=after[key],
        )
        for key, (words, _) in measured.items()
    ]
    data = ModelCardData(
        library_name="diffusers",
        base_model=name if from_hub else None,
        tags=["unlearning", "variational-diffusion-unlearning"],
        model_name=title if results else None,
        eval_results=results or None,
    )
    lines = [
        "---",
        data.to_yaml(),
        "---",
        f"# {title}",
        "",
        f"Made by VDU Studio with {METHODS[report['method']].title}, seed {report['seed']}, "
        f"{report['steps_taken']} steps; it stopped because {report['stopped_because']}. "
        f"The change of the weights was scaled by {report['scale']:g}."
        + (f" Measured with {report['samples']:,} samples a side." if measured else ""),
        "",
    ]
    for key, (words, how) in measured.items():
        low, high = (how.format(end) for end in after[f"{key}_ci95"])
        lines += [f"- {words} {how.format(before[key])} → {how.format(after[key])} (95 % {low}–{high})"]
    if "retain_fid" in measured:
        lines += [f"- real against real, the u-FID at this n is {after['retain_fid_floor']:.3f}"]
    for other, rates in after.get("forgotten_before", {}).items():
        low, high = rates["forget_rate_ci95"]
        lines += [f"- of {other}, which was forgotten before: {rates['forget_rate']:.2%} (95 % {low:.2%}–{high:.2%})"]
    if report["earlier"]:
        lines += [
            "",
            f"It went on from a model that had been changed before (runs: {len(report['earlier'])}): “before” is that model.",
        ]
    return "\n".join(lines) + "\n"


def write_previews(run: Run, folder: Path) -> None:
    """Write before.png, after.png and previews/step-NNNN.png."""
    pictures = folder / "previews"
    pictures.mkdir()
    for preview in run.previews:
        preview_sheet(preview).save(pictures / f"step-{preview.step:04d}.png", optimize=True)
    if run.previews:
        shutil.copy(pictures / f"step-{run.previews[0].step:04d}.png", folder / "before.png")
        shutil.copy(pictures / f"step-{run.previews[-1].step:04d}.png", folder / "after.png")


def write_trajectory(run: Run, path: Path) -> None:
    """Write one row a step: the two terms, the loss, and at previews the estimated forget rate and damage."""
    looks = {preview.step: preview for preview in run.previews}
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "plasticity", "stability", "loss", "forget_rate", "damage"])
        for taken in run.steps:
            look = looks.get(taken.step)
            rows.writerow(
                [
                    taken.step,
                    taken.plasticity,
                    taken.stability,
                    taken.loss,
                    *([look.forget_rate, look.damage] if look else ["", ""]),
                ]
            )


def keep_variance(run: Run, folder: Path) -> None:
    """Lay sigma*^2 beside an unlearned model where its start had one: it is the next run's, whose mu* the model is."""
    source = run.model.folder / "posterior" / "variance.safetensors" if run.model.folder else None
    if source and source.is_file():
        (folder / "posterior").mkdir()
        shutil.copy(source, folder / "posterior")


def write_run(run: Run, folder: Path) -> Report:
    """Leave a run in `folder`, which must not exist or be empty; it appears whole or not at all.

    Returns:
        the report that report.json holds.
    """
    report = report_of(run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        partial = Path(scratch) / "run"
        partial.mkdir()
        write_previews(run, partial)
        write_trajectory(run, partial / "trajectory.csv")
        run.model.save(partial / "unlearned")
        (partial / "unlearned" / "README.md").write_text(model_card(report))
        keep_variance(run, partial / "unlearned")
        for place in (partial, partial / "unlearned"):  # in the latter it tells the next run what is forgotten already
            (place / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    return report


def zip_model(folder: Path, report: Report) -> Path:
    """Pack `folder`/run/unlearned as a zip that unpacks to one folder, which plain diffusers loads."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{report['model']}-without-{'-'.join(gone(report))}")[:100]
    source, target = folder / "run" / "unlearned", folder / f"{name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, Path(name) / path.relative_to(source))
    return target

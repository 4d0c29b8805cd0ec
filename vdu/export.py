"""What a run leaves behind: report.json, picture sheets, the trajectory, and the unlearned model as a diffusers folder.

A method that guides samples changes no weights, and leaves no model.
"""

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

from PIL import Image

from vdu import cards
from vdu.catalog import CATALOG
from vdu.events import Preview
from vdu.methods import METHODS
from vdu.metrics import Figures, Metric, table_metrics
from vdu.models import Model, read_index
from vdu.models.hub import is_id
from vdu.optimizers import GUIDANCE
from vdu.report import Report, report_of
from vdu.run import Run
from vdu.sheet import sheet
from vdu.writing import whole


def preview_sheet(preview: Preview) -> Image.Image:
    """The picture sheet of a preview: rows of eight, the forgotten class framed."""
    return sheet(preview.images, preview.forgotten)


def forgotten_names(report: Report) -> list[str]:
    """What a model's name says it is without: all that it has forgotten; if a run changed nothing, what it should have."""
    return report["forgotten"] or [report["forget"]]


def card_line(metric: Metric, before: Figures, after: Figures) -> str:
    """A figure on the model card: before, after, and the 95 % interval of the latter."""
    was = f"{metric.format.format(before[metric.key])} → " if before.get(metric.key) is not None else ""
    interval = after.get(f"{metric.key}_ci95")
    ends = f" (95 % {'–'.join(metric.format.format(end) for end in interval)})" if interval else ""
    return f"{metric.label}: {was}{metric.format.format(after[metric.key])}{ends}"


def draws_from_prompts_alone(model: Model) -> bool:
    """Whether programs that give a folder and a prompt, and name no variant and no picture, can draw with a model."""
    if not model.takes_prompts or model.variant or not model.folder:
        return False
    return "Img2Img" not in read_index(model.folder)["_class_name"]


def model_card(report: Report, model: Model) -> str:
    """A README.md for the unlearned model, with its figures for people and, as a model-index, for the hub.

    A model that came from a folder goes by that folder's name alone; its licence is what the card there says, if anything.
    """
    before, after, method = report["before"] or {}, report["after"] or {}, METHODS[report["method"]]
    from_hub = is_id(report["model"]) and not Path(report["model"]).is_dir()
    name = report["model"] if from_hub else Path(report["model"]).name
    title = f"{name} without {' or '.join(forgotten_names(report))}"
    measured = [metric for metric in table_metrics() if after.get(metric.key) is not None]
    task = cards.PROMPTED if model.takes_prompts else cards.UNPROMPTED
    figures = [(metric.key, metric.label, after[metric.key]) for metric in measured]
    data = cards.card_data(
        task,
        title,
        cards.scores(task, cards.own_samples(report["samples"]), figures),
        base_model=name if from_hub or report["model"] in CATALOG else None,
        tags=["unlearning", report["method"], *([f"arxiv:{method.paper}"] if method.paper else [])],
        **cards.licence_of(model.folder),
    )
    lines = [card_line(metric, before, after) for metric in measured]
    if after.get("retain_fid_floor") is not None:
        lines.append(f"real against real, the u-FID at this n is {after['retain_fid_floor']:.3f}")
    for other, rates in after.get("forgotten_before", {}).items():
        low, high = rates["forget_rate_ci95"]
        lines.append(f"of {other}, which was forgotten before: {rates['forget_rate']:.2%} (95 % {low:.2%}–{high:.2%})")
    scored = draws_from_prompts_alone(model)
    return cards.card("unlearned", data, title=title, method=method.title, report=report, lines=lines, scored=scored)


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

    Raises:
        UserError: if it cannot be written, or files of the model have vanished.
    """
    report = report_of(run)
    with whole(folder) as partial:
        partial.mkdir()
        write_previews(run, partial)
        write_trajectory(run, partial / "trajectory.csv")
        places = [partial]
        if run.recipe.optimizer != GUIDANCE:
            places.append(partial / "unlearned")  # there report.json tells the next run what is forgotten already
            run.model.save(places[1])
            (places[1] / "README.md").write_text(model_card(report, run.model), encoding="utf-8")
            keep_variance(run, places[1])
        for place in places:
            (place / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def zip_model(folder: Path, report: Report, target: Path) -> list[Path]:
    """Pack `folder`/run/unlearned as a zip in the folder `target`; it unpacks to one folder, which plain diffusers loads.

    Returns:
        the zip; nothing if the run left no model.

    Raises:
        UserError: if it cannot be written.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{report['model']}-without-{'-'.join(forgotten_names(report))}")[:100]
    source, packed = folder / "run" / "unlearned", target / f"{name}.zip"
    if not source.is_dir():
        return []
    with whole(packed) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, Path(name) / path.relative_to(source))
    return [packed]

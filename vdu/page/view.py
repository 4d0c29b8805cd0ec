"""What the panels show of a run, whether it is under way, has ended, or lies in a folder."""

import csv
import io
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vdu.catalog import CATALOG
from vdu.concepts.base import INSTEAD, UNPROMPTED, PromptSpec
from vdu.events import Preview
from vdu.export import preview_sheet
from vdu.page.markup import png
from vdu.report import Report
from vdu.run import Run

LEFT_OPEN, NO_PROMPT = -1, -2  # in place of the class that a prompt names


@dataclass(frozen=True)
class SamplePairs:
    """The n measured samples of both models, from the same seeds; a tuple of two is (before, after).

    Attributes:
        axis: name of the axis that what is forgotten lies on, such as "digit".
        classes: the classes of the axis.
        forgotten: which of the classes must no longer be drawn.
        images: uint8 (n, c, h, w).
        seen: the most probable class of each image, a position in `classes`, (n,).
        shows: which images show what is forgotten, bool (n,).
        kept: which seeds must not change, bool (n,).
        prompted: the class that each prompt names, a position in `classes`, (n,); `LEFT_OPEN` where it names none of the axis,
            `NO_PROMPT` where there is none; None for a model without prompts.
    """

    axis: str
    classes: tuple[str, ...]
    forgotten: tuple[str, ...]
    images: tuple[Tensor, Tensor]
    seen: tuple[Tensor, Tensor]
    shows: tuple[Tensor, Tensor]
    kept: Tensor
    prompted: Tensor | None = None


@dataclass(frozen=True)
class RunView:
    """A run as the panels show it.

    Attributes:
        forget: what is forgotten, as a report writes it.
        report: as in report.json; None until the untouched model is measured, without "after" until the other one is.
        sheets: PNG bytes of the previews, by step.
        steps: rows of step, plasticity and stability, for `charts.curves`.
        previews: rows of step, forget_rate and damage, estimated at the previews.
        takes_prompts: whether the model takes prompts.
        finished: whether the run has ended.
        example: whether it was made ahead, and is not the visitor's.
        pairs: the measured samples; None for a run from a folder, or one that was stopped.
        files: what can be downloaded: report, picture sheet, model.
    """

    forget: str
    report: Report | None = None
    sheets: dict[int, bytes] = field(default_factory=dict)
    steps: list[dict[str, float]] = field(default_factory=list)
    previews: list[dict[str, float]] = field(default_factory=list)
    takes_prompts: bool = False
    finished: bool = False
    example: bool = False
    pairs: SamplePairs | None = None
    files: tuple[str, ...] = ()

    @property
    def last_step(self) -> int:
        """The step of the last preview."""
        return max(self.sheets)

    def nearest(self, position: float) -> int:
        """The step of the preview nearest to a position of the snapshot slider."""
        return min(self.sheets, key=lambda step: abs(step - position))


def live_view(run: Run, last: RunView | None = None, report: Report | None = None, finished: bool = False) -> RunView:
    """The view of a run in memory.

    Args:
        run: the run.
        last: its view a moment ago, whose sheets need not be drawn again.
        report: its report, if there is a newer one than `last` has.
        finished: whether it has ended.
    """
    sheets = dict(last.sheets) if last else {}
    for preview in run.previews:
        if preview.step not in sheets or preview is run.previews[-1]:  # the last may have been redrawn after rescaling
            sheets[preview.step] = sheet_png(preview)
    return RunView(
        forget=run.task.concept.display_name,
        report=report or (last.report if last else None),
        sheets=sheets,
        steps=[{"step": taken.step, "plasticity": taken.plasticity, "stability": taken.stability} for taken in run.steps],
        previews=[{"step": look.step, "forget_rate": look.forget_rate, "damage": look.damage} for look in run.previews],
        takes_prompts=run.model.takes_prompts,
        finished=finished,
        pairs=pairs_of(run),
    )


def pairs_of(run: Run) -> SamplePairs | None:
    """The measured samples of a run; None unless both models were measured."""
    if run.before is None or run.after is None:
        return None
    concept, sides = run.task.concept, (run.before, run.after)
    number = concept.axes_named[0]
    axis, classes = list(concept.axes.items())[number]
    first = sum(len(names) for names in list(concept.axes.values())[:number])
    prompted = torch.tensor([prompted_class(spec, number, first) for spec in run.before.specs])
    return SamplePairs(
        axis=axis,
        classes=tuple(classes),
        forgotten=tuple(name for name in classes if name not in concept.retained_classes),
        images=tuple(side.images for side in sides),
        seen=tuple(side.classes[:, number] - first for side in sides),
        shows=tuple(side.showing(concept.class_sets) for side in sides),
        kept=run.before.kept(concept.excluded_class_sets),
        prompted=prompted if concept.takes_prompts else None,
    )


def prompted_class(spec: PromptSpec, axis: int, first: int) -> int:
    """The position, within an axis whose first class is `first`, of the class that a prompt names; see `SamplePairs`."""
    if spec.kind == UNPROMPTED or not spec.classes:
        return NO_PROMPT
    return LEFT_OPEN if spec.kind == INSTEAD or spec.classes[axis] < 0 else spec.classes[axis] - first


def saved_view(folder: Path, takes_prompts: bool = False, example: bool = False) -> RunView:
    """The view of a folder that `vdu unlearn --out` left."""
    report = json.loads((folder / "report.json").read_text())
    sheets = {int(path.stem.split("-")[1]): path.read_bytes() for path in sorted((folder / "previews").glob("step-*.png"))}
    with (folder / "trajectory.csv").open() as file:
        steps = [{name: float(row[name]) for name in ("step", "plasticity", "stability")} for row in csv.DictReader(file)]
    return RunView(
        forget=report["forget"],
        report=report,
        sheets=sheets,
        steps=steps,
        previews=report["previews"],
        takes_prompts=takes_prompts,
        finished=True,
        example=example,
    )


@lru_cache(maxsize=1)
def examples() -> dict[str, RunView]:
    """The runs made ahead, by model, in the order of the catalogue."""
    return {
        name: saved_view(entry.folder / "example", entry.takes_prompts, example=True)
        for name, entry in CATALOG.items()
        if (entry.folder / "example").is_dir()
    }


def example_of(model: str) -> RunView:
    """The run made ahead of a model, or if there is none, of the first in the catalogue."""
    return examples().get(model, next(iter(examples().values())))


def sheet_png(preview: Preview) -> bytes:
    """The picture sheet of a preview as PNG bytes."""
    return png(preview_sheet(preview))


def write_comparison(folder: Path, view: RunView) -> Path:
    """Write the first and the last sheet side by side, as one PNG."""
    before, after = (Image.open(io.BytesIO(view.sheets[step])) for step in (min(view.sheets), max(view.sheets)))
    gap = 24
    page = Image.new("RGB", (2 * before.width + gap, before.height), "white")
    page.paste(before, (0, 0))
    page.paste(after, (before.width + gap, 0))
    path = folder / "before-after.png"
    page.save(path)
    return path

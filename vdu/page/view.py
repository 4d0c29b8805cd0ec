"""What the panels show of a run: one that is under way or has ended, or one that was saved in a folder."""

import csv
import io
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vdu.catalog import CATALOG, Entry
from vdu.concepts.base import INSTEAD, PARAPHRASE, UNPROMPTED, Concept, PromptSpec
from vdu.events import Preview
from vdu.export import preview_sheet
from vdu.page.markup import png
from vdu.report import Report
from vdu.run import Run
from vdu.writing import whole

LEFT_OPEN, NO_PROMPT = -1, -2  # in `SamplePairs.prompted`, in place of a class


@dataclass(frozen=True)
class SamplePairs:
    """n samples of the models before and after, from the same seeds; a tuple of two is (before, after).

    Attributes:
        axis: name of the axis of the forgotten class, such as "digit".
        classes: the classes of the axis.
        forgotten: the classes that must no longer be drawn.
        images: uint8 (n, c, h, w).
        seen: the most probable class of each image, a position in `classes`, (n,).
        shows: whether an image shows a forgotten class, bool (n,).
        kept: whether a seed must keep its class, bool (n,).
        prompted: the class that each prompt names, a position in `classes`, (n,); `LEFT_OPEN` if the prompt names no class of
            the axis, `NO_PROMPT` if there is no prompt. None for a model that takes no prompts.
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
        forget: name of what is forgotten, as in the report.
        report: as in report.json; None until the model before is measured, and without "after" until the model after is.
        sheets: step -> picture sheet of the preview, as PNG bytes.
        steps: rows of step, plasticity and stability, for `charts.curves`.
        previews: rows of step, forget_rate and damage; estimates from the preview's images.
        takes_prompts: whether the model takes prompts.
        other_wording: a prompt that asks for what is forgotten in words of no forget image; "" for a model without prompts.
        finished: whether the run has ended.
        example: whether it is a shipped example, not a run of the visitor.
        pairs: the measured samples; None for a saved run, and until both models are measured.
        pictures: how many images each of `sheets` shows; 0 for a saved run.
        files: paths to download: report, picture sheet, and the model if there is one; empty until the run has ended.
        problem: a sentence if the run has ended and its files could not be written; else empty.
    """

    forget: str
    report: Report | None = None
    sheets: dict[int, bytes] = field(default_factory=dict)
    steps: list[dict[str, float]] = field(default_factory=list)
    previews: list[dict[str, float]] = field(default_factory=list)
    takes_prompts: bool = False
    other_wording: str = ""
    finished: bool = False
    example: bool = False
    pairs: SamplePairs | None = None
    pictures: int = 0
    files: tuple[str, ...] = ()
    problem: str = ""

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
        last: its previous view, whose sheets are reused.
        report: its report, if it is newer than that of `last`.
        finished: whether the run has ended.
    """
    sheets = dict(last.sheets) if last else {}
    for preview in run.previews:
        if preview.step not in sheets or preview is run.previews[-1]:  # rescaling redraws the last preview
            sheets[preview.step] = sheet_png(preview)
    return RunView(
        forget=run.task.concept.display_name,
        report=report or (last.report if last else None),
        sheets=sheets,
        steps=[{"step": taken.step, "plasticity": taken.plasticity, "stability": taken.stability} for taken in run.steps],
        previews=[{"step": look.step, "forget_rate": look.forget_rate, "damage": look.damage} for look in run.previews],
        takes_prompts=run.model.takes_prompts,
        other_wording=other_wording(run.task.concept),
        finished=finished,
        pairs=pairs_of(run),
        pictures=len(run.replay.grid) if run.replay else 0,
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
    """The class that a prompt names on an axis whose first class is number `first`; see `SamplePairs.prompted`."""
    if spec.kind == UNPROMPTED or not spec.classes:
        return NO_PROMPT
    return LEFT_OPEN if spec.kind == INSTEAD or spec.classes[axis] < 0 else spec.classes[axis] - first


def other_wording(concept: Concept) -> str:
    """See `RunView.other_wording`."""
    return concept.plan(2, (PARAPHRASE,))[1].prompt or "" if concept.takes_prompts else ""


def example_view(entry: Entry) -> RunView:
    """The view of the run that ships with a model, as `vdu unlearn --out` saved it."""
    folder = entry.folder / "example"
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
        takes_prompts=entry.takes_prompts,
        other_wording=other_wording(entry.concept(report["forget"])),
        finished=True,
        example=True,
    )


@lru_cache(maxsize=1)
def examples() -> dict[str, RunView]:
    """Model -> its example, a run that ships with it, in the order of the catalog."""
    return {name: example_view(entry) for name, entry in CATALOG.items() if (entry.folder / "example").is_dir()}


def example_of(model: str) -> RunView:
    """The example of a model; if it has none, the first example of the catalog."""
    return examples().get(model, next(iter(examples().values())))


def sheet_png(preview: Preview) -> bytes:
    """The picture sheet of a preview as PNG bytes."""
    return png(preview_sheet(preview))


def write_comparison(folder: Path, view: RunView) -> Path:
    """Write the first and the last sheet of a run side by side, as one PNG; returns its path.

    Raises:
        UserError: if it cannot be written.
    """
    before, after = (Image.open(io.BytesIO(view.sheets[step])) for step in (min(view.sheets), max(view.sheets)))
    gap = 24
    page = Image.new("RGB", (2 * before.width + gap, before.height), "white")
    page.paste(before, (0, 0))
    page.paste(after, (before.width + gap, 0))
    path = folder / "before-after.png"
    with whole(path) as partial:
        page.save(partial)
    return path

"""What the page shows of a run, as HTML: no Gradio here, so that app.py is layout and wiring alone."""

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vdu import figures
from vdu.entries import Entry
from vdu.events import PHASES, Preview, Progress
from vdu.export import as_picture, preview_sheet, sheet
from vdu.measure import Samples
from vdu.methods import METHODS
from vdu.report import Report, headline
from vdu.unlearn import Run

PICTURES = 7  # real examples of a class beside its name
TYPED = {
    "label": "… or type it",
    "info": "In place of the choice above: one thing by any of its names, a pair, or several with commas between.",
    "placeholder": "crimson, or: a red sneaker, or: red, blue",
}
OTHERWISE = {False: "Several at once, or your own pictures", True: "In words"}  # by whether the model takes them
SHOWN = "In pictures of yours"  # for a model that takes no words and has no classes to choose from
SEVERAL = {"label": "… or several", "info": "In place of the choice above: more than one at once, with commas between."}
TOLD = {
    "label": "Forget",
    "info": "A prompt for it, as one would write it; in brackets the words of it that shall mean nothing any more.",
    "placeholder": "a painting [by Van Gogh]",
}
CALLED = {
    "label": "Forget",
    "info": "A name for what your pictures show, of which a judge is fitted to 8 or more; or a class that the judge knows.",
    "placeholder": "our church",
}
KEEP_WORDS = "Prompts, one a line, that shall go on as before. None: as different ones as there are."
EXPERIMENT = (
    "The data-constrained question: how much of what shall be forgotten must be at hand? The recipe on the left runs once for "
    "each number of real pictures, with the same seeds. Beside these, *vdu-f* goes by what the model itself draws of it; the "
    "paper's loss, *vdu*, has nothing else. Five runs take five times as long as one; Stop ends them."
)
ROW = 8  # images a number of pictures
GRID_WORDS = "Same seeds, same prompts on both sides; what is to be forgotten comes first. Framed: the judge still sees it."


@dataclass
class View:
    """A run as the page shows it, live or from a folder.

    Attributes:
        report: as in report.json, or None while the run goes on.
        sheets: PNG bytes of the previews, by step.
        steps, looks: rows for `figures.curves`.
    """

    report: Report | None
    sheets: dict[int, bytes]
    steps: list[dict[str, float]]
    looks: list[dict[str, float]]


def typing(entry: Entry | None, worded: bool) -> dict[str, str]:
    """What the field says in which things to forget are typed, for a model of the catalog or of somebody's own."""
    if entry is None:
        return TOLD if worded else CALLED
    if worded:
        return TYPED
    return SEVERAL | {"placeholder": f"{entry.classes[3]}, {entry.classes[-2]}"}


def png(image: Image.Image) -> bytes:
    """An image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def live_view(run: Run, sheets: dict[int, bytes], report: Report | None = None) -> View:
    """The view of a run that goes on or has just ended; `sheets` is filled with the previews it lacks."""
    for preview in run.previews:
        if preview.step not in sheets or preview is run.previews[-1]:  # the last may have been redrawn after rescaling
            sheets[preview.step] = png(preview_sheet(preview))
    steps = [{"step": taken.step, "plasticity": taken.plasticity, "stability": taken.stability} for taken in run.steps]
    looks = [{"step": look.step, "forget_rate": look.forget_rate, "damage": look.damage} for look in run.previews]
    return View(report, sheets, steps, looks)


def saved_view(folder: Path) -> View:
    """The view of a folder that `vdu unlearn --out` left."""
    report = json.loads((folder / "report.json").read_text())
    sheets = {int(path.stem.split("-")[1]): path.read_bytes() for path in sorted((folder / "previews").glob("step-*.png"))}
    with (folder / "trajectory.csv").open() as file:
        steps = [{name: float(row[name]) for name in ("step", "plasticity", "stability")} for row in csv.DictReader(file)]
    return View(report, sheets, steps, report["previews"])


def picture(data: bytes, description: str) -> str:
    """A PNG as an inline image."""
    encoded = base64.b64encode(data).decode()
    return f'<img class="vdu-sheet" alt="{html.escape(description)}" src="data:image/png;base64,{encoded}">'


def pictures_html(images: Sequence[Tensor], left_out: Sequence[str] = ()) -> str:
    """Uploaded pictures (c, h, w), uint8, as the model will see them: the centre, square; and what is left out."""
    words = "".join(f'<div class="vdu-small">{html.escape(why)}.</div>' for why in left_out)
    if not images:
        return words
    shown = picture(png(sheet(torch.stack(list(images)), torch.zeros(len(images)))), "the centre of each picture, square")
    return f'<div class="vdu-small">What the model will see of them ({len(images)}):</div>{shown}{words}'


def sheet_html(view: View, step: int | None, forget: str) -> str:
    """The sheet of a step (None: the last); a placeholder while there is none."""
    if not view.sheets:
        return '<div class="vdu-empty">…</div>'
    step = max(view.sheets) if step is None else step
    when = "before" if step == 0 else f"after {step} steps"
    return picture(view.sheets[step], f"Samples {when}; where the judge sees {forget}, the frame is red")


def words_over(title: str, small: str) -> str:
    """The title over the right-hand sheet."""
    return f'<h2 class="vdu-h">{title}</h2><div class="vdu-small">{small}</div>'


def estimate(forget_rate: float, damage: float) -> str:
    """What the pictures of a sheet say."""
    return f"by these pictures, forget rate about {forget_rate:.1%}; {damage:.0%} of the kept ones changed"


def snapshot_words(view: View, step: int) -> str:
    """The title over the right-hand sheet, with what was estimated at that step."""
    if step == 0:
        return words_over("Before any step", "the untouched model")
    look = next(look for look in view.looks if look["step"] == step)
    return words_over(f"After {step} steps", estimate(look["forget_rate"], look["damage"]))


def further_words(preview: Preview, factor: float) -> str:
    """The title over the right-hand sheet when it shows another distance than the run's."""
    return words_over(f"{factor:.1f} × as far", estimate(preview.forget_rate, preview.damage))


def tried_html(prompt: str, before: Samples, after: Samples) -> str:
    """A row of samples before and one after, for a visitor's own prompt."""
    rows = []
    for title, samples in (("before", before), ("after", after)):
        nothing = torch.zeros(len(samples.images), dtype=torch.bool)
        rows.append(
            f'<div class="vdu-small">{title}</div>{picture(png(sheet(samples.images, nothing)), f"{prompt}, {title}")}'
        )
    return f'<h2 class="vdu-h">“{html.escape(prompt)}”</h2>' + "".join(rows)


def nearest(view: View, position: float) -> int:
    """The step of the preview nearest to a position of the snapshot slider."""
    return min(view.sheets, key=lambda step: abs(step - position))


def headline_html(report: Report, example: bool = False) -> str:
    """The headline, the reason it stopped, and for an example a word that it was made ahead."""
    small = []
    if example:
        small.append("An example made ahead, so that there is something to look at: press Unlearn for a run of your own.")
    small.append(
        f"{METHODS[report['method']].title}. It stopped after {report['steps_taken']} steps because "
        f"{report['stopped_because']}."
    )
    if report["scale"] != 1:
        small.append(f"Then its change was scaled by {report['scale']:g}.")
    words = html.escape(headline(report)).replace("u-FID", "u&#8209;FID")  # a line never breaks inside the name
    return f'<div class="vdu-headline" role="status">{words}</div><div class="vdu-small">{html.escape(" ".join(small))}</div>'


def working_html(run: Run) -> str:
    """The headline while a run goes on."""
    text = f"Forgetting {run.recipe.forget} …"
    if run.previews:
        first, last = run.previews[0], run.previews[-1]
        text += f" about {first.forget_rate:.1%} of samples at the start"
        text += f", about {last.forget_rate:.1%} after {last.step} steps." if last.step else "."
    return f'<div class="vdu-headline" role="status">{html.escape(text)}</div>'


def status_html(progress: Progress | None, words: str = "") -> str:
    """A progress bar with a time estimate, after words if there are any; those alone where nothing runs."""
    if progress is None:
        return f'<div class="vdu-status">{html.escape(words or "Ready.")}</div>'
    share = 100 * progress.done / max(1, progress.total)
    left = "" if progress.seconds_left is None else f" · about {progress.seconds_left:.0f} s left in this phase"
    label = f"{words}: " * bool(words) + f"{PHASES[progress.phase]} · {progress.done} of {progress.total}{left}"
    return (
        f'<div class="vdu-status"><div class="vdu-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-label="{PHASES[progress.phase]}"><div style="width:{share:.1f}%"></div></div>'
        f"{html.escape(label)}</div>"
    )


def published_words(address: str) -> str:
    """Where a model was uploaded to."""
    safe = html.escape(address, quote=True)
    return f'<div class="vdu-small">Published, for you alone to see: <a href="{safe}" target="_blank">{safe}</a></div>'


def count_row(number: int, run: Run, report: Report) -> dict[str, Any]:
    """What so many real pictures were worth: the figures, and what became of the first seeds that drew the class."""
    before, after, look = report["before"], report["after"], run.previews[-1]
    ratio = after["retain_fid"] / before["retain_fid"] if before["retain_fid"] and after["retain_fid"] else None
    return {
        "number": number,
        "forget_rate": after["forget_rate"],
        "forget_rate_ci95": after["forget_rate_ci95"],
        "u_fid_ratio": ratio,
        "damage": look.damage,
        "sheets": [png(sheet(part.images[:ROW], part.forgotten[:ROW])) for part in (run.previews[0], look)],
    }


def counts_html(rows: Sequence[dict[str, Any]], forget: str) -> str:
    """The plot and the pictures of the experiment with few pictures, as far as it has gone."""
    fid = all(row["u_fid_ratio"] is not None for row in rows)
    cost, words, scale = ("u_fid_ratio", "u-FID after ÷ before", 1) if fid else ("damage", "kept pictures changed, %", 100)
    points = [(row["number"], row["forget_rate"], *row["forget_rate_ci95"], scale * row[cost]) for row in rows]
    chart = figures.svg(
        figures.few_pictures({"": points}, forget, words), "Forget rate and cost by the number of real pictures"
    )
    strips = [("before", rows[0]["sheets"][0]), *((f"{row['number']} real", row["sheets"][1]) for row in rows)]
    lines = "".join(
        f'<div class="vdu-strip"><span class="vdu-small">{title}</span>{picture(strip, f"the same seeds, {title}")}</div>'
        for title, strip in strips
    )
    return f'<div class="vdu-chart vdu-wide">{chart}</div>{lines}'


FIGURES = (  # key, name, how it is written, what it means
    ("forget_rate", "Forget rate", "{:.1%}", "share of samples in which the judge sees what is to be forgotten; 1 − UA"),
    (
        "forget_rate_corrected",
        "Corrected",
        "{:.1%}",
        "forget rate less the errors of a judge that was fitted on pictures",
    ),
    ("paraphrase_rate", "In other words", "{:.1%}", "forget rate of prompts in words that no forget image came with"),
    ("instead_rate", "Left open", "{:.1%}", "share of samples that show it where the prompt does not say whether they should"),
    ("unprompted_rate", "No prompt", "{:.1%}", "the same without any prompt, which is what guidance starts from"),
    (
        "ira",
        "Other prompts (IRA)",
        "{:.1%}",
        "share of the other prompts' samples that are right on the same axis",
    ),
    ("cra", "Other axis (CRA)", "{:.1%}", "share of samples that are right on the other axis"),
    ("retain_fid", "u-FID", "{:.3f}", "Fréchet distance of the other samples to real test images; lower is better"),
    ("confident", "Clear", "{:.1%}", "share of samples some class gets with probability above 0.8"),
)


def table_html(report: Report) -> str:
    """The figures before and after, with 95 % intervals, and what else was measured."""
    before, after = report["before"], report["after"]
    if not before:
        return ""

    def cell(figures_: dict[str, Any] | None, key: str, form: str) -> str:
        if figures_ is None or figures_[key] is None:
            return "–"
        low, high = figures_[f"{key}_ci95"]
        return f"{form.format(figures_[key])} <small>[{form.format(low)} – {form.format(high)}]</small>"

    rows = [
        f'<tr><th scope="row" title="{meaning}">{name}</th>'
        f"<td>{cell(before, key, form)}</td><td>{cell(after, key, form)}</td></tr>"
        for key, name, form, meaning in FIGURES
        if key in before
    ]
    notes = [f"n = {report['samples']:,} samples a side, same seeds."]
    if before["retain_fid_floor"] is not None:
        notes.append(f"Real images against real images at this n: u-FID {before['retain_fid_floor']:.3f}.")
    if after:
        if report["pul"] is not None:
            notes.append(f"PUL {report['pul']:.1f} %.")
        if "retained_drift" in after:
            notes.append(
                f"Kept seeds: {after['retained_same_class']:.0%} still draw the same class; they moved "
                f"{after['retained_drift']:.2f} of the way to an unrelated image. Balance of the kept classes: total "
                f"variation {after['retained_share_tv']:.3f}, least kept {after['least_retained_class']} at "
                f"{after['least_retained_ratio']:.2f} of its share."
            )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    notes.append(f"Time: {seconds}. Peak memory {report['peak_memory_mib']:,} MiB on {report['device']}.")
    return (
        '<table class="vdu-table"><thead><tr><td></td><th scope="col">before</th><th scope="col">after</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table><div class="vdu-small">{html.escape(" ".join(notes))}</div>'
    )


def shares_html(report: Report | None) -> str:
    """The bar chart of class shares."""
    if not report or not report["before"]:
        return '<div class="vdu-empty">measured once the samples are drawn</div>'
    return figures.class_shares(report["before"], report["after"], report["forget"])


def curves_html(view: View) -> str:
    """The curves over the steps."""
    return figures.curves(view.steps, view.looks)


def timesteps_html(entry: Entry, window: tuple[int, int]) -> str:
    """Where a model decides on the class, as `vdu bench timesteps` has measured it, and the window of timesteps."""
    rows = json.loads((entry.folder / "timesteps.json").read_text())
    chart = figures.svg(figures.class_memory(rows, window), "Share of real images that come back as their class, by timestep")
    return f'<div class="vdu-chart">{chart}</div>'


def choice_css(entries: list[Entry]) -> str:
    """A style rule a class that puts pictures of it beside its name in the radio group `#forget`."""
    rules = []
    for entry in entries:
        for name in entry.classes:
            images = entry.examples(name)[:PICTURES]
            strip = png(as_picture(torch.cat([*images], dim=2)))
            rules.append(
                f'#forget [data-testid="{name}-radio-label"]::after {{ content: ""; height: 28px; flex: 1; '
                f"background: url(data:image/png;base64,{base64.b64encode(strip).decode()}) left / auto 28px no-repeat; }}"
            )
    return "\n".join(rules)


def write_comparison(folder: Path, view: View) -> Path:
    """Write before and after, side by side, as one PNG."""
    sides = [Image.open(io.BytesIO(view.sheets[step])) for step in (min(view.sheets), max(view.sheets))]
    width, height, gap = sides[0].width, sides[0].height, 24
    page = Image.new("RGB", (2 * width + gap, height), "white")
    for index, side in enumerate(sides):
        page.paste(side, (index * (width + gap), 0))
    path = folder / "before-after.png"
    page.save(path)
    return path

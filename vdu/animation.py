"""An animation of finished runs, side by side: the picture sheet of each run from its first preview to its last.

python -m vdu animate runs/three runs/red --out forgetting.webp
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vdu.errors import UserError
from vdu.reading import read_json
from vdu.report import Report
from vdu.sheet import PAPER
from vdu.summary import percent
from vdu.writing import whole

HEIGHT, BAR, INK = 300, 30, (235, 235, 235)  # height of a sheet and of its caption in pixels; colour of the caption
FIRST, STEP, LAST = 1800, 160, 3500  # duration in milliseconds of the first frame, a middle frame and the last frame
MOST = 24  # frames at most
FORMATS = {".webp": {"quality": 70, "method": 6}, ".gif": {"optimize": True}}  # suffix -> options of Pillow's writer


def read_run(folder: Path) -> list[tuple[str, Image.Image]]:
    """A caption and the picture sheet of every preview of a run, ordered by step.

    Raises:
        UserError: if the folder holds no finished run: measured before and after, with at least two previews.
    """
    try:
        report = read_json(folder / "report.json")
        sheets = []
        for number, preview in enumerate(report["previews"]):
            with Image.open(folder / "previews" / f"step-{preview['step']:04d}.png") as opened:
                sheets.append((caption(report, number), opened.convert("RGB")))
    except (OSError, ValueError, KeyError, TypeError, IndexError, Image.DecompressionBombError):
        sheets = []
    if len(sheets) < 2:
        raise UserError(f"'{folder}' does not hold a finished run; give the --out folder of `vdu unlearn`.")
    return sheets


def caption(report: Report, number: int) -> str:
    """The forget rate at a preview, in words: measured at the first and the last preview, estimated at the others."""
    preview, last = report["previews"][number], len(report["previews"]) - 1
    subject = f"{report['model']}, forget “{report['forget']}”"
    if number not in (0, last):
        return f"{subject}: step {preview['step']}, about {percent(preview['forget_rate'])} %"
    name = "before" if number == 0 else "after"
    low, high = (percent(end) for end in report[name]["forget_rate_ci95"])
    return f"{subject}: {name}, {percent(report[name]['forget_rate'])} % [{low} to {high}]"  # the font has no dash


def draw_panel(words: str, picture: Image.Image) -> Image.Image:
    """A sheet scaled to `HEIGHT` pixels, with its caption above it."""
    picture = picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)
    panel = Image.new("RGB", (picture.width, HEIGHT + BAR), PAPER)
    panel.paste(picture, (0, BAR))
    ImageDraw.Draw(panel).text((4, BAR / 2), words, INK, ImageFont.load_default(15), anchor="lm")
    return panel


def animate(folders: list[Path], out: Path) -> Path:
    """Write a looping animation of runs. Runs with many previews skip some of them, so that all runs end together.

    Raises:
        UserError: if a folder holds no finished run, or `out` has none of the suffixes in `FORMATS`.
    """
    if out.suffix not in FORMATS:
        raise UserError(f"'{out}' must end in {' or '.join(FORMATS)} (out).")
    runs = [read_run(folder) for folder in folders]
    count = min(MOST, max(map(len, runs)))
    frames = []
    for frame in range(count):
        panels = [draw_panel(*sheets[round(frame * (len(sheets) - 1) / (count - 1))]) for sheets in runs]
        gap = BAR // 3
        page = Image.new("RGB", (sum(panel.width + gap for panel in panels) - gap, HEIGHT + BAR), PAPER)
        left = 0
        for panel in panels:
            page.paste(panel, (left, 0))
            left += panel.width + gap
        frames.append(page)
    durations = [FIRST, *[STEP] * (count - 2), LAST]
    with whole(out) as partial:
        frames[0].save(partial, save_all=True, append_images=frames[1:], duration=durations, loop=0, **FORMATS[out.suffix])
    return out

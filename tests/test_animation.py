"""The animation: its frames are the previews, and its captions agree with the report."""

import json
import shutil

import pytest
from PIL import Image

from vdu.animation import FIRST, HEIGHT, LAST, MOST, animate, caption, read_run
from vdu.assets import ASSETS
from vdu.errors import UserError

RUN = ASSETS / "mnist-ddpm" / "example"


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_it_goes_from_the_first_preview_to_the_last_and_repeats(tmp_path, suffix):
    written = animate([RUN, ASSETS / "tiny-sd" / "example"], tmp_path / "new" / f"moving{suffix}")
    with Image.open(written) as moving:
        assert moving.n_frames == min(
            MOST, max(len(read_run(ASSETS / name / "example")) for name in ("mnist-ddpm", "tiny-sd"))
        )
        durations = []
        for frame in range(moving.n_frames):
            moving.seek(frame)
            moving.load()
            durations.append(moving.info["duration"])
        assert moving.height > HEIGHT and moving.width > 2 * HEIGHT
        assert (durations[0], durations[-1]) == (FIRST, LAST) and max(durations[1:-1]) < FIRST
        assert moving.info["loop"] == 0


def test_the_ends_are_measured_and_what_lies_between_is_estimated():
    report, sheets = json.loads((RUN / "report.json").read_text()), read_run(RUN)
    assert [words for words, _ in sheets] == [caption(report, number) for number in range(len(sheets))]
    first, last = (report[side]["forget_rate"] for side in ("before", "after"))
    assert f"before, {100 * first:.1f} % [" in caption(report, 0)
    assert f"after, {100 * last:.1f} % [" in caption(report, len(sheets) - 1)
    assert f"step {report['previews'][1]['step']}, about {100 * report['previews'][1]['forget_rate']:.1f} %" in caption(
        report, 1
    )


def test_what_is_no_finished_run_is_refused_and_nothing_is_written(tmp_path):
    stopped = shutil.copytree(RUN, tmp_path / "stopped")
    report = json.loads((stopped / "report.json").read_text())
    (stopped / "report.json").write_text(json.dumps(report | {"after": None}))
    cut = shutil.copytree(RUN, tmp_path / "cut")
    sheet = next((cut / "previews").glob("*.png"))
    sheet.write_bytes(sheet.read_bytes()[:200])
    broken = []
    for number, change in enumerate(({"before": {"forget_rate": 0.1}}, {"after": [1]}, {"model": None, "before": "x"})):
        broken.append(shutil.copytree(RUN, tmp_path / f"broken-{number}"))
        (broken[-1] / "report.json").write_text(json.dumps(report | change))
    deep = shutil.copytree(RUN, tmp_path / "deep")
    (deep / "report.json").write_text("[" * 100_000)
    for folder in (tmp_path / "nothing", stopped, cut, deep, *broken):
        with pytest.raises(UserError, match="does not hold a finished run"):
            animate([folder], tmp_path / "out" / "moving.gif")
    with pytest.raises(UserError, match=r"must end in \.webp or \.gif"):
        animate([RUN], tmp_path / "out" / "moving.mp4")
    assert not (tmp_path / "out").exists()

"""Time and memory of steps in the real loop, by batch size."""

import json

from dummies import dummy_stable_diffusion

from vdu.assets import ASSETS
from vdu.cli import main


def test_what_steps_cost_is_measured_on_the_real_loop(tmp_path, capsys):
    given = [
        "--model",
        str(dummy_stable_diffusion(tmp_path / "sd")),
        "--batch-size",
        "1",
        "2",
        "--steps",
        "3",
        "--out",
        str(tmp_path / "memory.json"),
    ]
    assert main(["bench", "memory", *given]) == 0
    rows = json.loads((tmp_path / "memory.json").read_text())
    assert [row["batch_size"] for row in rows] == [1, 2]
    assert capsys.readouterr().out.count("s per step, peak") == 2
    for row in rows:
        assert 0 < row["trained"] < row["parameters"]
        assert row["seconds_a_step"] > 0
        assert row["peak_gib"] <= row["peak_gib_with_drawing"]
    assert main(["bench", "memory", "--model", str(ASSETS / "mnist-ddpm"), "--out", str(tmp_path / "none.json")]) == 2
    assert not (tmp_path / "none.json").exists()

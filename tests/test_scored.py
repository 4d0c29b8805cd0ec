"""The script of docs/cli.md that has eval-unlearn score a model, with a stand-in for that package."""

import ast
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from vdu.pretrain.fashion import COLOURS, GARMENTS, GROUNDS

DOCS = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
SCRIPT = re.search(r"^```python\n(# red\.py .*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
COVERED = 8  # side in pixels of a garment in a picture of 32×32: a sixteenth of it, less than any garment


def picture(colour, ground):
    """A square of one colour on a ground."""
    image = Image.new("RGB", (32, 32), tuple(round(255 * value) for value in GROUNDS[ground]))
    image.paste(tuple(round(255 * value) for value in COLOURS[colour][0]), (0, 0, COVERED, COVERED))
    return image


def stand_in(monkeypatch, image, asked):
    """Put a package in place of eval-unlearn that draws the same image for every prompt, and notes what it is asked for."""
    kinds = {}

    class Runner:
        def __init__(self, technique, metric, technique_config, seed):
            asked.append((technique, metric, technique_config, seed))

        def run(self):
            metric = kinds["red"]()
            for batch in metric.load_dataset():
                asked.extend(batch.prompts)
                metric.update([image] * len(batch.prompts), batch.prompts, {})
            return {"metric_result": metric.compute().value}

    parts = {
        "registry": {"register_metric": lambda name: lambda kind: kinds.setdefault(name, kind)},
        "runners": {"SingleBenchmarkRunner": Runner},
        "types": {
            "Dataset": lambda prompts: SimpleNamespace(prompts=prompts),
            "MetricResult": lambda name, value: SimpleNamespace(name=name, value=value),
        },
    }
    for name, values in {"": {}, **parts}.items():
        module = ModuleType(f"eval_unlearn.{name}".strip("."))
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("ground", GROUNDS)
def test_the_script_counts_pictures_that_are_red_and_no_others(ground, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["red.py", "FOLDER"])
    for colour in COLOURS:
        asked = []
        stand_in(monkeypatch, picture(colour, ground), asked)
        exec(compile(SCRIPT, "red.py", "exec"), {})
        assert ast.literal_eval(capsys.readouterr().out) == (colour == "red")
        (technique, metric, model, seed), *prompts = asked
        assert (technique, metric, model["model_id"], seed) == ("free_run", "red", "FOLDER", 0)
        assert prompts == [f"a photo of a red {garment}" for garment in GARMENTS]

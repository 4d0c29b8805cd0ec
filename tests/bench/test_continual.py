"""One request after another, and all at once: the table of their figures."""

import json

import pytest
from conftest import QUICK

from vdu.bench.continual import continual
from vdu.cli import main
from vdu.recipe import Recipe


def test_each_request_goes_on_from_the_last_and_is_measured_against_the_first(tmp_path, capsys):
    out = tmp_path / "rows.json"
    continual(Recipe.from_dict(QUICK), ["3", "8"], out, print)
    first, second, both = json.loads(out.read_text())
    assert [row["requests"] for row in (first, second, both)] == ["3", "3 → 8", "all at once: 3, 8"]
    assert [list(row["forget_rates"]) for row in (first, second, both)] == [["3"], ["3", "8"], ["3", "8"]]
    assert [row["recipe"]["forget"] for row in (first, second, both)] == ["3", "8", "3, 8"]
    assert second["u_fid_before"] == both["u_fid_before"] != first["u_fid_before"]  # the same original, less of it kept
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert table[3].startswith("| 3 → 8 | 3: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--forget", "3"], "at least two"),
        (["--forget", "3, 8", "cat"], "no class 'cat'"),
        (["--model", "tiny-sd", "--forget", "red", "bag"], "takes no prompts"),
        (["--forget", "3", "8", "--method", "dng"], "leaves the weights as they are"),
    ],
)
def test_what_cannot_be_measured_so_is_one_sentence(flags, message, tmp_path, capsys):
    assert main(["bench", "continual", *flags, "--out", str(tmp_path / "rows.json")]) == 2
    assert message in capsys.readouterr().err

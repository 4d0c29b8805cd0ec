"""The real command, end to end on a recipe that takes seconds, and every kind of bad argument."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from conftest import QUICK
from diffusers import DDPMPipeline
from PIL import Image

from vdu import __version__
from vdu.catalog import CATALOG
from vdu.cli import SHARED, commands, main
from vdu.posterior import checkpoints
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import run_to_end
from vdu.task import open_model

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "vdu"]
STEPS = str(QUICK["sampler_steps"])
FLAGS = [word for name, value in QUICK.items() for word in ("--" + name.replace("_", "-"), str(value))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run."""
    target = tmp_path_factory.mktemp("cli") / "run"
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        assert main(["unlearn", "--model", "mnist-ddpm", "--forget", "3", *FLAGS, "--out", str(target)]) == 0
    assert out.getvalue() == f"{target / 'report.json'}\n"
    assert "The model drew a 3" in err.getvalue()
    return target


def test_unlearn_leaves_everything_it_promises(folder):
    for name in ("report.json", "before.png", "after.png", "trajectory.csv"):
        assert (folder / name).stat().st_size > 0
    report = json.loads((folder / "report.json").read_text())
    assert {"model", "forget", "method", "recipe", "seed", "samples", "before", "after", "pul", "u_fid", "seconds",
            "peak_memory_mib", "device", "versions"} <= set(report)  # fmt: skip
    assert {"unlearn", "sample", "evaluate", "total"} <= set(report["seconds"])
    assert set(report["before"]) <= set(report["after"])
    assert sum(report["after"]["class_shares"].values()) == pytest.approx(1)
    assert len((folder / "trajectory.csv").read_text().splitlines()) == 1 + report["steps_taken"]


def test_plain_diffusers_loads_the_unlearned_model(folder):
    pipeline = DDPMPipeline.from_pretrained(folder / "unlearned", use_safetensors=True)
    assert pipeline.unet.config.sample_size == 28


def test_sample_and_evaluate_an_unlearned_folder(folder, tmp_path, capsys):
    drawn = ["--n", "5", "--sampler-steps", "3", "--out", str(tmp_path / "s.png"), "--npz", str(tmp_path / "s.npz")]
    assert main(["sample", "--model", str(folder), *drawn]) == 0
    images = np.load(tmp_path / "s.npz")["images"]
    assert images.dtype == np.uint8
    assert images.shape == (5, 28, 28, 1)
    capsys.readouterr()
    assert main(["evaluate", "--model", str(folder), "--forget", "3", "--samples", "50", "--sampler-steps", STEPS]) == 0
    report = json.loads((folder / "report.json").read_text())
    figures = json.loads(capsys.readouterr().out)
    assert figures["forget_rate"] == pytest.approx(report["after"]["forget_rate"], abs=0.061)  # three of fifty samples


def test_a_second_request_goes_on_from_the_first(folder, tmp_path, capsys):
    flags = ["--forget", "8", "--method", "vdu", *FLAGS, "--out", str(tmp_path / "second")]
    assert main(["unlearn", "--model", str(folder), *flags]) == 0
    report = json.loads((tmp_path / "second" / "report.json").read_text())
    assert report["forgotten"] == ["3", "8"]
    earlier = report["after"]["forgotten_before"]["3"]["forget_rate"]
    assert earlier == report["after"]["class_shares"]["3"]
    assert report["after"]["retained_samples"] == round(50 * (1 - earlier - report["after"]["forget_rate"]))
    first = DDPMPipeline.from_pretrained(folder / "unlearned", use_safetensors=True).unet
    start, _, _ = open_model(str(folder), "cpu")
    start.train_only("all")
    posterior = run_to_end(checkpoints(start))
    assert all(torch.equal(value, posterior.mean[name]) for name, value in first.state_dict().items())
    assert "Forgotten before: 3, now in" in capsys.readouterr().err


def test_two_digits_at_once(tmp_path):
    assert main(["unlearn", "--model", "mnist-ddpm", "--forget", "9, 4", *FLAGS, "--out", str(tmp_path / "both")]) == 0
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    shares = report["after"]["class_shares"]
    assert report["forget"] == "9 or 4"
    assert report["after"]["forget_rate"] == pytest.approx(shares["9"] + shares["4"])
    assert report["after"]["least_retained_class"] not in ("4", "9")


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_models_for_tools(capsys):
    assert main(["models", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [*CATALOG]


BAD = [
    (["unlearn", "--model", "mnist-ddpm", "--forget", "cat"], "no class 'cat'"),
    (["unlearn", "--model", "no-such-model", "--forget", "3"], "no model 'no-such-model'"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--forget-images", "0"], "from 1 to 500"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--seed", "-1"], "Seed must be"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--steps", "1000000"], "from 1 to 2,000"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--steps", "ten"], "from 1 to 2,000, not 'ten'"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--gamma", "nan"], "Gamma must be"),
    (["unlearn", "--model", "mnist-ddpm"], "--forget"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "--samples", "50"], "--forget"),
    (["unlearn", "--modle", "mnist-ddpm", "--forget", "3"], "--model"),
    (["unlearn", "mnist-ddpm", "--model", "mnist-ddpm", "--forget", "3"], "extra argument (mnist-ddpm)"),
    ([], "command"),
    (["bench"], "command"),
    (["bench", "quality", "--seeds", "0", "-1"], "not '-1'"),
    (["animate", "--out", "moving.gif"], "RUN"),
    (["animate", "nothing", "--out", "moving.gif"], "does not hold a finished run"),
    (["modles"], "models"),
    (["sample", "--model", "mnist-ddpm", "--n", "0"], "whole number from 1"),
    (["evaluate", "--model", "mnist-ddpm", "--forget", "11"], "no class '11'"),
    (["bench", "quality", "--settings", "magic"], "magic"),
    (["bench", "quality", "--model", "nowhere"], "no model 'nowhere'"),
    (["bench", "timesteps", "--images", "0"], "whole number from 1"),
    (["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--forget-source", "thin air"], "must be one of real, model"),
    (["pretrain", "mnist", "--without", "3"], "--without is for retrained"),
    (["pretrain", "retrained", "--without", "mauve"], "takes digits, or garments and colours of tiny-sd, not 'mauve'"),
    (["pretrain", "retrained", "--without", "red", "3"], "takes digits or words, not both"),
    (["pretrain", "tiny-sd", "--minutes", "1"], "--minutes is for cifar10 and tiny-imagenet"),
    (["pretrain", "cifar10", "--minutes", "nan"], "must be a number from 0.1 to 100,000, not 'nan'"),
    (["bench", "soak", "--minutes", "nan"], "must be a number from 0.02 to 1,440, not 'nan'"),
    (["sample", "--model", "mnist-ddpm", "--out", "x.png", "--npz", "x.png"], "--out and --npz are both 'x.png'"),
    (
        ["evaluate", "--model", "mnist-ddpm", "--forget", "3", "--judge", "pictures"],
        "has to be fitted on pictures; give pictures",
    ),
    (["estimate", "--model", "mnist-ddpm"], "--forget"),
    (["estimate", "--model", "mnist-ddpm", "--forget", "3"], "choose --posterior fisher or layers or swag"),
    (["dance"], "dance"),
    (
        ["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--method", "esd"],
        "cannot be used with a model that takes no prompts",
    ),
    (["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", "vdu-f,esd", "--out", "x"], "esd cannot be used"),
    (["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", "magic", "--out", "x"], "no method 'magic'"),
    (["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", ",", "--out", "x"], "Name the methods"),
    (["compare", "--model", "mnist-ddpm", "--forget", "cat", "--methods", "vdu", "--out", "x"], "no class 'cat'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_bad_argument_is_one_line_and_exit_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("vdu: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_command_for_one_process_is_refused_in_several(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert {*SHARED} < {*commands.commands}
    for name in commands.commands.keys() - {*SHARED}:
        assert main([name, "--help"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"vdu: '{name}' runs in a single process")
        assert error.endswith("share the work of sample, evaluate, estimate, pretrain.\n")
    for name in SHARED:
        assert main([name, "--help"]) == 0


@pytest.mark.usefixtures("quick_layers")
@pytest.mark.parametrize(("model", "forget"), [("mnist-ddpm", "3"), ("tiny-sd", "red")])
def test_an_estimate_is_the_one_that_a_later_run_reads(model, forget, tmp_path, monkeypatch, capsys):
    words = ["estimate", "--model", model, "--forget", forget, "--posterior", "layers"]
    monkeypatch.setenv("VDU_CACHE", str(tmp_path))
    assert main(words) == 0
    (entry,) = tmp_path.iterdir()
    out, error = capsys.readouterr()
    assert out == f"{entry}\n"
    assert re.fullmatch(r"The posterior layers is cached \([\d.]+ s\)\.\n", error)
    events = []
    run_to_end(Run(Recipe(model=model, forget=forget, method="vdu", posterior="layers")).estimation, events.append)
    assert not events

    monkeypatch.setenv("VDU_CACHE", str(entry))
    assert main(words) == 2
    assert "could not be written: a part of its path is a file" in capsys.readouterr().err


def walk(command, words=()):
    """A command and those below it, each with the words that call it."""
    yield words, command
    for name in getattr(command, "commands", {}):
        yield from walk(command.get_command(None, name), (*words, name))


ALL = dict(walk(commands))


def test_every_option_is_explained_in_a_short_line():
    assert {("compare",), ("animate",), ("bench", "memory"), ("pretrain",)} <= set(ALL)
    options = [(words, option) for words, command in ALL.items() for option in command.params]
    assert [(words, option.name) for words, option in options if not 0 < len(option.help or "") <= 90] == []
    for words, command in ALL.items():
        names = [name for option in command.params for name in option.opts]
        assert len(names) == len(set(names)), words


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_help_fits_a_terminal_and_leaves_out_nothing(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    options = [option for option in ALL[words].params if isinstance(option, click.Option)]
    assert [option.name for option in options if f"{option.opts[0]} " not in page] == []
    assert "..." not in page.partition("Commands:")[2]  # no command's line is cut short


def test_animate_writes_the_picture_and_prints_its_path(folder, tmp_path, capsys):
    out = tmp_path / "moving.gif"
    assert main(["animate", str(folder), str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as moving:
        assert moving.n_frames > 1


def test_a_reader_that_has_gone_ends_a_command_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}  # what is printed stays in the buffer until the end
        streams = {"stdout": pipe, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run([*COMMAND, "models"], cwd=ROOT, env=buffered, timeout=120, **streams)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_full_folder_is_never_written_to(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--out", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


ENDINGS = {"sample": ".png"}
RUN_OF_3 = ["--model", "mnist-ddpm", "--forget", "3"]


@pytest.mark.parametrize(
    "arguments",
    [["unlearn", *RUN_OF_3], ["sample", "--model", "mnist-ddpm"], ["compare", *RUN_OF_3, "--methods", "vdu-f"],
     ["animate", "{run}"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_place_that_cannot_be_written_to_is_refused_in_one_line(arguments, folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = [argument.format(run=folder) for argument in arguments]
    assert main([*arguments, "--out", str(tmp_path / "file" / f"new{ENDINGS.get(arguments[0], '.gif')}")]) == 2
    assert re.fullmatch(r"vdu: '.*' could not be written: a part of its path is a file; .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [["unlearn", *RUN_OF_3, *FLAGS], ["sample", "--model", "mnist-ddpm", "--n", "2", "--sampler-steps", "2"],
     ["animate", "{run}"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_disk_that_is_full_at_the_end_leaves_nothing(arguments, folder, tmp_path, capsys, monkeypatch):
    def half_written(image, path, *values, **named):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", half_written)
    arguments = [argument.format(run=folder) for argument in arguments]
    assert main([*arguments, "--out", str(tmp_path / f"new{ENDINGS.get(arguments[0], '.gif')}")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"vdu: '.*new\.[a-z]+' could not be written: the disk is full; free some space there, .*", line)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_leaves_nothing(sent, tmp_path):
    command = [
        *COMMAND,
        "unlearn",
        "--model",
        "mnist-ddpm",
        "--forget",
        "3",
        "--steps",
        "2000",
        "--replay",
        "64",
        "--sampler-steps",
        "2",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it is ignored in background jobs of a shell
    )
    for line in process.stderr:  # the preview of step 0: it is under way
        if line.startswith("step 0"):
            break
    process.send_signal(sent)
    assert process.stderr.read().splitlines()[-1] == "vdu: stopped; nothing was written."
    assert process.wait(timeout=120) == 130
    assert not list(tmp_path.iterdir())

"""Two processes train the same model as one, and resume after a kill; they draw the same images, and estimate the same."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import forking
import numpy as np
import pytest
import sharer
import torch
import trainer
from mnist_files import write_idx
from safetensors.torch import load_file

from vdu import posterior, processes, sampling
from vdu.cli import main
from vdu.errors import UserError
from vdu.pretrain import ddpm, latent_diffusion, tiny_sd
from vdu.pretrain.latent_diffusion import (
    autoencoder_losses,
    denoiser_losses,
    make_autoencoder,
    make_denoiser,
    make_tokenizer,
    tokens,
)
from vdu.pretrain.loop import load_state

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", 2)
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--main_process_port", 0)
ON_CPUS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[1])}


def python(*arguments):
    """Run Python on CPUs."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=os.environ | ON_CPUS, capture_output=True, text=True, timeout=300
    )


def forked(folder, command):
    """Both runs of the trainer in forks of one process, which imports everything once."""
    return in_forks(trainer, folder, *command)


def in_forks(module, folder, *arguments):
    """`python MODULE --fork FOLDER ARGUMENTS`, in a fork of this process."""
    code = f"import runpy; runpy.run_path({module.__file__!r}, run_name='__main__')"
    return forking.python(code, "--fork", folder, *arguments, **ON_CPUS)


def launched(folder, command):
    """Each run of the trainer by a launcher."""
    assert python("-m", *ACCELERATE, trainer.__file__, folder).returncode, "one of them was killed"
    assert load_state(folder / "killed" / "state.safetensors")[0] == 3
    return python("-m", *TORCHRUN, trainer.__file__, folder, *command)


@pytest.mark.parametrize("start", [forked, pytest.param(launched, marks=pytest.mark.slow)])
def test_two_processes_train_what_one_would_and_go_on_after_a_kill(start, tmp_path, monkeypatch):
    monkeypatch.setattr(ddpm, "autocast", ddpm.autocast)  # put back afterwards
    trainer.train_in(tmp_path / "alone")
    command = ["pretrain", "retrained", "--without", 3, "--steps", 10, "--data", write_idx(tmp_path / "idx")]
    done = start(tmp_path, [*command, "--work", tmp_path / "work", "--out", tmp_path / "out"])
    assert done.returncode == 0, done.stderr

    files = [sorted(path.name for path in (tmp_path / run).iterdir()) for run in ("alone", "whole", "killed")]
    assert files[0] == files[1] == files[2]
    alone, whole, killed = (
        {name: load_state(tmp_path / run / name) for name in files[0] if name.endswith(".safetensors")}
        for run in ("alone", "whole", "killed")
    )
    torch.testing.assert_close(whole, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(killed, whole, atol=0, rtol=0)
    losses = [
        [float(line.split(",")[1]) for line in (tmp_path / run / "log.csv").read_text().splitlines()]
        for run in ("alone", "whole")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)

    said = [line.split("  ")[0] for line in done.stdout.splitlines()][-5:]
    with_all, without = (tmp_path / "out" / name for name in ("with-all", "without-3"))
    assert said == ["step 6/6", "step 10/10", str(with_all), "step 10/10", str(without)], "the first process alone speaks"
    assert (without / "model_index.json").is_file()


@pytest.fixture
def fewer(monkeypatch):
    """As `sharer.fewer`, and put back afterwards."""
    for module, name in ((sampling, "BATCH"), *((posterior, f"LAYER_{part}") for part in ("IMAGES", "BATCHES", "BATCH"))):
        monkeypatch.setattr(module, name, getattr(module, name))
    sharer.fewer()


DRAWN = "sample --model mnist-ddpm --n 9 --sampler-steps 2 --out {0}.png --npz {0}.npz"
EVALUATED = "evaluate --model mnist-ddpm --forget 3 --samples 50 --sampler-steps 2"
ESTIMATED = "estimate --model mnist-ddpm --forget 3 --posterior layers"


def check_shared(folder, alone):
    """Check what both processes have of `sharer.results` against what one process has alone."""
    shared = [load_file(folder / f"{rank}.safetensors") for rank in (0, 1)]
    for found in shared:
        for count in sharer.COUNTS:
            assert torch.equal(found[f"images/{count}"], alone[f"images/{count}"])
            done = found[f"progress/{count}"].tolist()
            assert done == sorted(done)
            assert max(done, default=0) in (0, count * sharer.STEPS), "of the whole; a process may have nothing to do"
        assert found["events/made"] > found["events/read"] == 0
    assert max(shared[0]["progress/1"]) == sharer.STEPS
    figures = [
        {name: value for name, value in found.items() if name.startswith(("information", "made", "read"))}
        for found in (*shared, alone)
    ]
    torch.testing.assert_close(figures[0], figures[1], rtol=0, atol=0)
    torch.testing.assert_close(figures[0], figures[2], rtol=1e-4, atol=1e-12)
    assert all(value.any() for name, value in figures[0].items() if name.startswith("made"))


@pytest.mark.usefixtures("fewer")
def test_two_processes_draw_and_estimate_what_one_would(tmp_path, monkeypatch, capsys):
    cache, one, two, none = (tmp_path / name for name in ("cache", "one", "two", "none"))
    monkeypatch.setenv("VDU_CACHE", str(tmp_path / "alone"))
    alone = sharer.results()
    assert main(DRAWN.format(one).split()) == 0
    assert main(EVALUATED.split()) == 0
    evaluated = capsys.readouterr().out.partition("\n")[2]

    monkeypatch.setenv("VDU_CACHE", str(cache))
    lines = [DRAWN.format(two), EVALUATED, ESTIMATED, ESTIMATED, "sample --model nowhere", "one-dies " + DRAWN.format(none)]
    done = in_forks(sharer, tmp_path, *lines)
    assert done.returncode == 0, done.stderr
    check_shared(tmp_path, alone)

    with np.load(f"{one}.npz") as drawn, np.load(f"{two}.npz") as drawn_by_two:
        assert np.array_equal(drawn["images"], drawn_by_two["images"])
    entries = [path.name for path in cache.iterdir()]
    assert len(entries) == 2, "of the tiny network, and of the model"
    entry = next(f"{cache / name}\nexit 0\n" for name in entries if name in done.stdout)
    said = f"{two}.png\nexit 0\n{evaluated}exit 0\n{entry}{entry}exit 1\nexit 1\n"
    assert done.stdout == said, "the first process alone speaks"
    refused = [line for line in done.stderr.splitlines() if "nowhere" in line]
    assert len(refused) == 1
    assert refused[0].startswith("vdu: There is no model 'nowhere'")
    left = {path.name for path in tmp_path.iterdir()} - {"cache", "alone", "0.safetensors", "1.safetensors"}
    assert left == {"one.png", "one.npz", "two.png", "two.npz"}, "nothing half-written"


@pytest.mark.slow
@pytest.mark.usefixtures("fewer")
def test_under_launchers_too(tmp_path, monkeypatch):
    monkeypatch.setenv("VDU_CACHE", str(tmp_path / "alone"))
    alone = sharer.results()
    monkeypatch.setenv("VDU_CACHE", str(tmp_path / "cache"))
    done = python("-m", *ACCELERATE, sharer.__file__, tmp_path)
    assert done.returncode == 0, done.stderr
    check_shared(tmp_path, alone)
    for launcher, module in (
        (ACCELERATE, ("-m",)),
        (TORCHRUN, ("-m", "--")),
    ):  # else torchrun takes --n for an option of its own
        vdu = ("-m", *launcher, *module, "vdu")
        drawn = python(*vdu, *DRAWN.format(tmp_path / launcher[0]).split())
        assert drawn.stdout == f"{tmp_path / launcher[0]}.png\n", drawn.stderr
        refused = python(*vdu, "sample", "--model", "nowhere")
        assert refused.returncode
        assert refused.stderr.count("vdu: There is no model 'nowhere'") == 1


def test_items_are_shared_out_in_turn_in_a_shared_block_alone(monkeypatch):
    monkeypatch.setattr(processes, "group", lambda: SimpleNamespace(num_processes=3, process_index=1))
    assert [*processes.own(range(7))] == [0, 1, 2, 3, 4, 5, 6]
    before = processes.SHARES.set(True)
    assert [*processes.own(range(7))] == [1, 4]
    processes.SHARES.reset(before)


def test_a_process_that_loses_the_others_says_so_in_a_sentence():
    with pytest.raises(UserError, match=r"Another process failed, .* \(Connection closed by peer\)"), processes.exchange():
        raise RuntimeError("Connection closed by peer\nmore")


def test_all_processes_but_the_first_hesitate_before_they_report_a_failure(monkeypatch):
    slept = []
    monkeypatch.setattr(processes.time, "sleep", slept.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(["sample", "--n", "0"]) == 2
    assert slept == [processes.HESITATION]


def test_the_halves_of_a_batch_have_the_loss_of_the_whole(monkeypatch):
    monkeypatch.setattr(latent_diffusion, "autocast", lambda device: nullcontext())
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (8, 3, 32, 32), generator=random, dtype=torch.uint8)
    design, stages = tiny_sd.DESIGN, tiny_sd.STAGES
    tokenizer = make_tokenizer(design)
    words, empty = (tokens(tokenizer, captions) for captions in (["a red bag"] * 8, [""]))
    latents = torch.randn((8, 4, 8, 8), generator=random)
    all_losses = [
        autoencoder_losses(make_autoencoder(design), pictures, replace(stages["autoencoder"], batch_size=8)),
        denoiser_losses(make_denoiser(design, tokenizer), latents, words, empty, replace(stages["denoiser"], batch_size=8)),
    ]
    for losses in all_losses:
        whole = torch.stack(losses(torch.Generator().manual_seed(1)))
        halves = []
        for index in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(processes, "group", lambda index=index: SimpleNamespace(num_processes=2, process_index=index))
                halves.append(torch.stack(losses(torch.Generator().manual_seed(1))))
        assert not halves[0].equal(halves[1])
        torch.testing.assert_close(sum(halves) / 2, whole)


def test_rows_are_shared_out_evenly_or_not_at_all(monkeypatch):
    monkeypatch.setattr(processes, "group", lambda: SimpleNamespace(num_processes=3, process_index=1))
    assert processes.own_rows(torch.arange(6))[0].tolist() == [2, 3]
    with pytest.raises(UserError, match="3 processes cannot share batches of 4"):
        processes.own_rows(torch.arange(4))


def test_several_processes_need_accelerate(monkeypatch):
    assert processes.group() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match="pip install accelerate"):
        processes.group()

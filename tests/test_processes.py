"""Two processes train the same model as one, and resume after a kill."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import forking
import pytest
import torch
import trainer
from mnist_files import write_idx

from vdu.errors import UserError
from vdu.pretrain import ddpm, latent_diffusion, processes, tiny_sd
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
    code = f"import runpy; runpy.run_path({trainer.__file__!r}, run_name='__main__')"
    return forking.python(code, "--fork", folder, *command, **ON_CPUS)


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


def test_the_halves_of_a_batch_have_the_loss_of_the_whole(monkeypatch):
    monkeypatch.setattr(latent_diffusion, "autocast", lambda device: nullcontext())
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (8, 3, 32, 32), generator=random, dtype=torch.uint8)
    tokenizer, stages = make_tokenizer(), tiny_sd.STAGES
    words, empty = (tokens(tokenizer, captions) for captions in (["a red bag"] * 8, [""]))
    latents = torch.randn((8, 4, 8, 8), generator=random)
    all_losses = [
        autoencoder_losses(make_autoencoder(), pictures, replace(stages["autoencoder"], batch_size=8)),
        denoiser_losses(make_denoiser(tokenizer), latents, words, empty, replace(stages["denoiser"], batch_size=8)),
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
    assert processes.is_main()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match="pip install accelerate"):
        processes.is_main()

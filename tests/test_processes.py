"""Two processes train what one would, and go on after a kill. As a script, this file is what they run."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_retraining import idx  # noqa: F401 - a fixture

from vdu.cli import main
from vdu.errors import UserError
from vdu.pretrain import ddpm, processes, retrained, tiny_sd
from vdu.pretrain.ddpm import TrainingConfig, load_state, train

UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 2,
        "add_attention": False}  # fmt: skip
CONFIG = TrainingConfig(unet=UNET, steps=6, batch_size=4, warmup=2, constant_from=0.5, snapshots=2, early=2, flip=True)
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", 2)
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--main_process_port", 0)
ON_CPUS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[1])}


def launch(*command):
    """Run a launcher with a command, on CPUs."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)], env=os.environ | ON_CPUS, capture_output=True, text=True, timeout=300
    )


def train_in(work):
    """Six steps on random pictures in float32, in which the order of additions hardly matters."""
    ddpm.autocast = lambda device: nullcontext()
    random = torch.Generator().manual_seed(0)
    train(torch.randint(0, 256, (16, 1, 8, 8), generator=random, dtype=torch.uint8), CONFIG, work, save_every=3)


def die_after_saving(text, **_):
    if text.startswith("step 3/"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_two_processes_train_what_one_would_and_go_on_after_a_kill(idx, tmp_path, monkeypatch):  # noqa: F811 - the fixture
    monkeypatch.setattr(ddpm, "autocast", ddpm.autocast)  # put back afterwards
    train_in(tmp_path / "alone")
    assert launch(*ACCELERATE, __file__, tmp_path).returncode, "one of them was killed"
    assert load_state(tmp_path / "killed" / "state.safetensors")[0] == 3
    command = ["pretrain", "retrained", "--without", 3, "--steps", 10, "--data", idx]
    done = launch(*TORCHRUN, __file__, tmp_path, *command, "--work", tmp_path / "work", "--out", tmp_path / "out")
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

    said = [line.split("  ")[0] for line in done.stdout.splitlines()]
    with_all, without = (tmp_path / "out" / name for name in ("with-all", "without-3"))
    assert said == ["step 6/6", "step 10/10", str(with_all), "step 10/10", str(without)], "the first process alone speaks"
    assert (without / "model_index.json").is_file()


def test_the_halves_of_a_batch_have_the_loss_of_the_whole(monkeypatch):
    monkeypatch.setattr(tiny_sd, "autocast", lambda device: nullcontext())
    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (8, 3, 32, 32), generator=random, dtype=torch.uint8)
    tokenizer, stages = tiny_sd.make_tokenizer(), tiny_sd.STAGES
    words, empty = (tiny_sd.tokens(tokenizer, captions) for captions in (["a red bag"] * 8, [""]))
    latents = torch.randn((8, 4, 8, 8), generator=random)
    all_losses = [
        tiny_sd.autoencoder_losses(tiny_sd.make_autoencoder(), pictures, replace(stages["autoencoder"], batch_size=8)),
        tiny_sd.denoiser_losses(
            tiny_sd.make_denoiser(tokenizer), latents, words, empty, replace(stages["denoiser"], batch_size=8)
        ),
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


if __name__ == "__main__":
    folder, *then = sys.argv[1:]
    if not then:
        train_in(Path(folder, "whole"))
        ddpm.print = die_after_saving
    train_in(Path(folder, "killed"))
    retrained.CONFIG = replace(retrained.CONFIG, batch_size=4)
    sys.exit(main(then))

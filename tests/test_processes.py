"""Two processes train what one would, and go on after a kill. As a script, this is what they run."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vdu.errors import UserError
from vdu.pretrain import ddpm, processes
from vdu.pretrain.ddpm import TrainingConfig, load_state, train

UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 2,
        "add_attention": False}  # fmt: skip
CONFIG = TrainingConfig(unet=UNET, steps=6, batch_size=4, warmup=2, constant_from=0.5, snapshots=2, early=2, flip=True)
TOGETHER = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[1])}


def train_in(work):
    """Six steps on random pictures in float32, in which the order of additions hardly matters."""
    ddpm.autocast = lambda device: nullcontext()
    random = torch.Generator().manual_seed(0)
    train(torch.randint(0, 256, (16, 1, 8, 8), generator=random, dtype=torch.uint8), CONFIG, work, save_every=3)


def die_after_saving(text, **_):
    if text.startswith("step 3/"):
        os.kill(os.getpid(), signal.SIGKILL)


def launch(*command):
    """Run a module or a script in two processes on the CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run([*launcher, *map(str, command)], env=os.environ | TOGETHER, capture_output=True, text=True)


def test_two_processes_train_what_one_would_and_go_on_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(ddpm, "autocast", ddpm.autocast)  # put back afterwards
    train_in(tmp_path / "alone")
    first = launch(__file__, tmp_path, "killed")
    assert first.returncode, "one of them was killed"
    assert load_state(tmp_path / "killed" / "state.safetensors")[0] == 3
    second = launch(__file__, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("step 6/6") == 1, "the first process alone speaks"
    names = [sorted(path.name for path in (tmp_path / run).iterdir()) for run in ("alone", "whole", "killed")]
    assert names[0] == names[1] == names[2]
    alone, whole, killed = (
        {name: load_state(tmp_path / run / name)[1] for name in names[0] if name.endswith("safetensors")}
        for run in ("alone", "whole", "killed")
    )
    torch.testing.assert_close(whole, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(killed, whole, atol=0, rtol=0)
    losses = [
        [line.split(",")[1] for line in (tmp_path / run / "log.csv").read_text().splitlines()] for run in ("alone", "whole")
    ]
    assert [*map(float, losses[0])] == pytest.approx([*map(float, losses[1])], abs=1e-4)


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
    folder, *killed = sys.argv[1:]
    if killed:
        train_in(Path(folder, "whole"))
        ddpm.print = die_after_saving
    train_in(Path(folder, "killed"))
    processes.leave()

"""A small training run, which `test_processes` starts in several processes.

trainer.py FOLDER: the whole run, and another one that is killed after it has saved.
trainer.py FOLDER COMMAND …: the killed run goes on; then the command.
trainer.py --fork FOLDER COMMAND …: first the one, then the other, each in two forks of this process, without a launcher.
"""

import os
import signal
import socket
import sys
import traceback
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from vdu.cli import main
from vdu.pretrain import ddpm, loop, retrained
from vdu.pretrain.ddpm import TrainingConfig, train

UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 2,
        "add_attention": False}  # fmt: skip
CONFIG = TrainingConfig(unet=UNET, steps=6, batch_size=4, warmup=2, constant_from=0.5, snapshots=2, early=2, flip=True)


def train_in(work: Path) -> None:
    """Six steps on random pictures, in float32, so that the order of additions hardly matters."""
    ddpm.autocast = lambda device: nullcontext()
    random = torch.Generator().manual_seed(0)
    train(torch.randint(0, 256, (16, 1, 8, 8), generator=random, dtype=torch.uint8), CONFIG, work, save_every=3)


def log_and_die(config, work, done, *rest, log=loop.log):
    log(config, work, done, *rest)
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def run(folder, *then):
    """What the first lines of this file say; the exit status."""
    if not then:
        train_in(Path(folder, "whole"))
        loop.log = log_and_die
    train_in(Path(folder, "killed"))
    retrained.CONFIG = replace(retrained.CONFIG, batch_size=4)
    return main(list(then))


def fork(work, *arguments):
    """`work(*arguments)` in the two processes of a group, as by a launcher; if one fails, both end. Whether one has failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = set()
    for rank in ("0", "1"):
        if process := os.fork():
            processes.add(process)
            continue
        os.environ |= group | {"RANK": rank, "LOCAL_RANK": rank}
        status = 1
        try:
            status = work(*arguments)
        except Exception:  # of the one that is left alone
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    failed = False
    while processes:
        process, status = os.wait()
        processes.discard(process)
        if status and not failed:
            failed = True
            for other in processes:
                os.kill(other, signal.SIGKILL)
    return failed


if __name__ == "__main__":
    if sys.argv[1] != "--fork":
        sys.exit(run(*sys.argv[1:]))
    if not fork(run, sys.argv[2]):
        sys.exit("none of them was killed")
    sys.exit(fork(run, *sys.argv[2:]))

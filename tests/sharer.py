"""Two processes that share the work of drawing and of an estimate; `test_processes` starts it.

sharer.py FOLDER: `results` in each process, as FOLDER/RANK.safetensors.
sharer.py --fork FOLDER LINE …: the same in two forks of this process, without a launcher; then each command line likewise.
"""

import os
import signal
import sys
from pathlib import Path

import accelerate  # noqa: F401 - once for all forks
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file
from trainer import UNET, fork

from vdu import posterior, processes, running, sampling  # noqa: F401 - once for all forks
from vdu.cli import main
from vdu.models import DDPM
from vdu.posterior import POSTERIORS, information
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample

COUNTS, STEPS = (1, 11, 20), 3  # images drawn, in 1, 4 and 6 batches; network evaluations per image


def fewer():
    """Small batches and few samples, so that six batches take no time."""
    sampling.BATCH = 4
    posterior.LAYER_IMAGES, posterior.LAYER_BATCHES, posterior.LAYER_BATCH = 4, 3, 2


def results():
    """What a tiny network draws, its Fisher information and an estimate; and how many events each took.

    The last count of each is of work that was done, so progress must end with the whole.
    """
    torch.manual_seed(0)
    model = DDPM(UNet2DModel(**UNET).eval(), DDPMScheduler(), "cpu", "tiny")
    found, done = {}, []
    for count in COUNTS:
        done.clear()
        found[f"images/{count}"] = run_to_end(sample(model, image_seeds(0, count), HowToSample(STEPS)), done.append)
        found[f"progress/{count}"] = torch.tensor(done)
    squares = run_to_end(information(model, (None,), 4, 5, 2))
    found |= {f"information/{name}": value for name, value in squares.items()}
    for turn in ("made", "read"):
        done.clear()
        estimate = run_to_end(POSTERIORS["layers"][0](model, (None,)), done.append)
        found |= {f"{turn}/{name}": value for name, value in estimate.variance.items()}
        found[f"events/{turn}"] = torch.tensor(len(done))
    return found


def share(folder):
    """Write what this process has of shared work."""
    fewer()
    with processes.shared():
        found = results()
    save_file({name: value.contiguous() for name, value in found.items()}, Path(folder) / f"{os.environ['RANK']}.safetensors")
    return 0


def command(line):
    """A command, quickly; its exit status. After "one-dies", the second process is killed while it draws."""
    fewer()
    words = line.split()
    if words[0] == "one-dies":
        words = words[1:]
        if not processes.is_main():
            sampling.fresh_noise = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
    return main(words)


if __name__ == "__main__":
    if sys.argv[1] != "--fork":
        sys.exit(share(sys.argv[1]))
    if fork(share, sys.argv[2]):
        sys.exit("one of them failed")
    for line in sys.argv[3:]:
        print(f"exit {int(fork(command, line))}", flush=True)

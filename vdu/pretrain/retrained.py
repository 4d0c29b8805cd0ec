"""Models to compare unlearning with: one trained on all digits, and models retrained without a digit.

python -m vdu pretrain retrained --without 3 9 --out retrained   (resumable; 15 minutes per model on two cores)

The network is that of mnist-ddpm, trained from random weights on the images alone, without the teacher, which knows all
digits. These models draw less clearly than the shipped one. Compare a `without-…` with `with-all`, which is trained in the
same way on all ten digits. Each folder is a plain diffusers folder with its own posterior/.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from diffusers import DDPMScheduler
from torch import Tensor

from vdu.errors import UserError
from vdu.models import from_uint8, pick_device
from vdu.pretrain.ddpm import TrainingConfig, train
from vdu.pretrain.mnist import CLASSES, STUDENT, fetch, read_idx, write_model
from vdu.pretrain.teachers import ExactAtHighNoise
from vdu.processes import is_main

WITH_ALL, WITHOUT = "with-all", "without-"  # names of the folders
WITHOUT_BY_DEFAULT = ("3", "9")
CONFIG = TrainingConfig(unet=STUDENT, steps=5000, batch_size=32, peak_rate=1.2e-3, floor_rate=2.5e-4, constant_from=0.75)


def retrain(arguments: SimpleNamespace) -> None:
    """Train the models that do not exist yet.

    Raises:
        UserError: if --without is no digit, before anything is trained.
    """
    without = arguments.without or WITHOUT_BY_DEFAULT
    for digit in without:
        if digit not in CLASSES:
            raise UserError(f"--without takes digits, not '{digit}'.")
    work, out, device = Path(arguments.work), Path(arguments.out or "retrained"), pick_device("auto")
    images, labels = read_idx(Path(arguments.data) if arguments.data else fetch(work), "train")
    config = replace(CONFIG, steps=min(CONFIG.steps, arguments.steps or CONFIG.steps))
    alpha_bar = DDPMScheduler().alphas_cumprod.to(device)

    def noise_itself(noisy: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return noise

    for name, digit in {WITH_ALL: None, **{WITHOUT + digit: digit for digit in without}}.items():
        kept = images if digit is None else images[labels != CLASSES.index(digit)]
        teacher = ExactAtHighNoise(from_uint8(kept).to(device), alpha_bar, noise_itself)
        train(kept, config, work / name, device, teacher=teacher)
        if is_main():
            write_model([work / name], out / name)
            print(out / name, flush=True)

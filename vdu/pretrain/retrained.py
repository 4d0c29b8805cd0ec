"""Models to compare unlearning with: retrained without a digit or a word, and trained on all digits from several seeds.

python -m vdu pretrain retrained --without 3 9 --out retrained   (resumable; 15 minutes per model on two cores)
python -m vdu pretrain retrained --without red sneaker           (resumable; as long as the U-Net in the card of tiny-sd)
python -m vdu pretrain originals --seeds 0 1 2 3 --out originals

For digits the network is that of mnist-ddpm, trained from random weights on the images alone, without the teacher, which
knows all digits. These models draw less clearly than the shipped one. Compare a `without-…` with `with-all`, which is trained
in the same way on all ten digits. Each folder is a plain diffusers folder with its own posterior/.

For garments and colours, the U-Net and the text encoder of tiny-sd are trained from random weights as the shipped model's
were, on the pictures that do not show the word. The autoencoder is the shipped one. Compare these with tiny-sd itself.

Each original is trained on all ten digits, from random weights and batches of its own seed. The folder `independent` has the
weights of the first original, and the variance over all originals as its posterior: the paper's "independent trainings".
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from vdu.assets import ASSETS
from vdu.errors import UserError
from vdu.models import from_uint8, load_model, pick_device, to_uint8
from vdu.posterior import from_checkpoints, save_variance
from vdu.pretrain import fashion, latent_diffusion, tiny_sd
from vdu.pretrain.ddpm import TrainingConfig, train
from vdu.pretrain.idx import read_idx
from vdu.pretrain.loop import snapshots_of
from vdu.pretrain.mnist import CLASSES, STUDENT, fetch, write_model
from vdu.pretrain.teachers import ExactAtHighNoise
from vdu.processes import is_main

WITH_ALL, WITHOUT = "with-all", "without-"  # names of the folders
WITHOUT_BY_DEFAULT = ("3", "9")
ORIGINAL, INDEPENDENT = "seed-", "independent"
SEEDS_BY_DEFAULT = (0, 1, 2, 3)
CONFIG = TrainingConfig(unet=STUDENT, steps=5000, batch_size=32, peak_rate=1.2e-3, floor_rate=2.5e-4, constant_from=0.75)


def retrain(arguments: SimpleNamespace) -> None:
    """Train the models that do not exist yet.

    Raises:
        UserError: if --without is no digit, garment or colour, or mixes digits with words, before anything is trained.
    """
    without = arguments.without or WITHOUT_BY_DEFAULT
    for what in without:
        if what not in (*CLASSES, *fashion.GARMENTS, *fashion.COLOURS):
            raise UserError(f"--without takes digits, or garments and colours of tiny-sd, not '{what}'.")
    digits = [what for what in without if what in CLASSES]
    if digits and len(digits) < len(without):
        raise UserError("--without takes digits or words, not both: these are models of two data sets; give two commands.")
    (retrain_digits if digits else retrain_words)(without, arguments)


def retrain_digits(digits: Sequence[str], arguments: SimpleNamespace) -> None:
    """Train a small MNIST model on all digits, and one without each of some digits."""
    images, labels = data(arguments)
    for name, digit in {WITH_ALL: None, **{WITHOUT + digit: digit for digit in digits}}.items():
        make(images if digit is None else images[labels != CLASSES.index(digit)], 0, name, arguments)


def retrain_words(words: Sequence[str], arguments: SimpleNamespace) -> None:
    """Train a tiny-sd per garment or colour, without the pictures that show it."""
    work, out, device = Path(arguments.work), Path(arguments.out or arguments.what), pick_device("auto")
    shown = tiny_sd.paintings(Path(arguments.data) if arguments.data else fashion.fetch(work), "train", tiny_sd.PAINTINGS)
    autoencoder = load_model(ASSETS / tiny_sd.NAME, device).vae.to(device)
    latents = latent_diffusion.encode(autoencoder, to_uint8(shown.images))
    config = tiny_sd.STAGES["denoiser"].shortened(arguments.steps)
    for word in words:
        labels, names = (shown.garments, fashion.GARMENTS) if word in fashion.GARMENTS else (shown.colours, fashion.COLOURS)
        rows, folder = (labels != [*names].index(word)).nonzero()[:, 0], work / (WITHOUT + word)
        captions = [shown.captions[row] for row in rows.tolist()]
        network, tokenizer = latent_diffusion.train_denoiser(tiny_sd.DESIGN, latents[rows], captions, config, folder, device)
        if is_main():
            posterior = snapshots_of(folder)
            network.load_state_dict(posterior.mean)
            latent_diffusion.write_model(out / (WITHOUT + word), autoencoder, network.eval(), tokenizer, posterior)
            print(out / (WITHOUT + word), flush=True)


def train_originals(arguments: SimpleNamespace) -> None:
    """Train the originals that do not exist yet, and write `independent`.

    Raises:
        UserError: for fewer than two seeds, before anything is trained.
    """
    seeds = tuple(dict.fromkeys(arguments.seeds or SEEDS_BY_DEFAULT))
    if len(seeds) < 2:
        raise UserError("--seeds takes two seeds or more: a variance needs two models.")
    images, _ = data(arguments)
    made = [make(images, seed, f"{ORIGINAL}{seed}", arguments) for seed in seeds]
    if is_main():
        out = made[0].parent / INDEPENDENT
        shutil.copytree(made[0], out, dirs_exist_ok=True)
        networks = (UNet2DModel.from_pretrained(folder, subfolder="unet", use_safetensors=True) for folder in made)
        save_variance(from_checkpoints(network.state_dict() for network in networks), out / "posterior")
        print(out, flush=True)


def data(arguments: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """MNIST's training images (n, 1, 28, 28) uint8 and labels (n,)."""
    return read_idx(Path(arguments.data) if arguments.data else fetch(Path(arguments.work)), "train")


def make(images: Tensor, seed: int, name: str, arguments: SimpleNamespace) -> Path:
    """Train a model on `images` unless that is done, and write its folder, which is returned."""
    folder, work, device = Path(arguments.out or arguments.what) / name, Path(arguments.work) / name, pick_device("auto")
    config = replace(CONFIG.shortened(arguments.steps), seed=seed)
    alpha_bar = DDPMScheduler().alphas_cumprod.to(device)
    teacher = ExactAtHighNoise(from_uint8(images).to(device), alpha_bar, lambda noisy, t, noise: noise)
    train(images, config, work, device, teacher=teacher)
    if is_main():
        write_model([work], folder)
        print(folder, flush=True)
    return folder

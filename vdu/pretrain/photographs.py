"""Make assets/cifar10-ddpm or assets/tiny-imagenet-ddpm: DDPM, posterior, judge, statistics, sample pictures, card.

python -m vdu pretrain cifar10 --data cifar10.tar.xz --minutes 3        (resumable; needs a GPU)

The archive holds train/CLASS/*.jpg and test/CLASS/*.jpg; for tiny-imagenet, the last training pictures of every class are
the test set instead. The judge is trained first and is useful without a model. The network is then trained in two rounds of
--minutes each; the second round starts from the average weights of the first.

python -m vdu pretrain cifar10 --data cifar10.tar.xz --teacher FOLDER        (resumable; on a CPU)

This keeps the judge of the model that `pretrain` wrote to a folder and trains its network on, towards its own predictions
guided away from a weaker network: a copy with noise on its weights, in proportion to the posterior's standard deviation. The
copy makes the errors of a network that was trained too little, and makes them larger.
"""

import copy
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu import cards
from vdu.assets import ASSETS
from vdu.data.sheets import SHEET_COLUMNS, write_sheet
from vdu.errors import UserError
from vdu.judges.classifier import Classifier
from vdu.metrics import Moments, frechet_distance, save_statistics, wilson
from vdu.metrics.reference import SECOND
from vdu.models import Model, autocast, from_uint8, load_model, pick_device
from vdu.posterior import Posterior, checkpoints, packed, unpacked
from vdu.pretrain.archives import KINDS, Kind, Pictures, read_archive
from vdu.pretrain.ddpm import TrainingConfig, train
from vdu.pretrain.loop import load_state, snapshots_of
from vdu.pretrain.noised import learn_all
from vdu.pretrain.teachers import Autoguidance
from vdu.processes import is_main
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample

JUDGE_WIDTH, JUDGE_RATE = 40, 0.3 / 512  # channels; learning rate per picture in a batch
SECOND_WIDTH, SECOND_EPOCHS = 48, 12  # of the second judge, which is of another architecture
ROUNDS = {  # in this order; `--steps` shortens each of them
    name: TrainingConfig(unet={}, steps=200_000, batch_size=256, peak_rate=rate, t_shape=(1.3, 1.5), flip=True)
    for name, rate in (("first", 1e-3), ("second", 5e-4))  # at 9e-4 a second round on 64×64 pictures diverged
}
SHARPENED = TrainingConfig(
    unet={},
    steps=200,
    batch_size=64,
    peak_rate=2e-4,
    floor_rate=5e-5,
    warmup=20,
    constant_from=0.7,
    t_shape=(1.3, 1.5),
    flip=True,
)
STRENGTH, INTERVAL = 2.0, (50, 150, 750, 950)  # of `Autoguidance`
WEAKENED, WEAK_SEED = 20.0, 1  # of the noise on the weights of the weaker copy: standard deviations of the posterior; seed
TEMPERATURES = tuple(0.3 + 0.05 * step for step in range(25))
MEASURED, SEED = 1000, 0  # number of samples for the figures, and their seed
DATASETS = {"cifar10": "uoft-cs/cifar10", "tiny-imagenet": "zh-plus/tiny-imagenet"}  # ids of the data on the hub
REAL = 500  # real pictures per class whose features are saved, for the Fréchet distance between real pictures


def pretrain(arguments: SimpleNamespace) -> None:
    """Run the stages that are not done yet and write the asset folder.

    Raises:
        UserError: if --data is missing or cannot be read.
    """
    kind, work, device = KINDS[arguments.what], Path(arguments.work), pick_device("auto")
    if not arguments.data:
        raise UserError("Name the archive of pictures to train on with --data.")
    pictures = read_archive(Path(arguments.data), kind)
    classes, images, labels, test_images, test_labels = pictures
    teacher = load_model(Path(arguments.teacher)) if arguments.teacher else None
    folder, init = (teacher.folder if teacher else work) / "classifier", None
    out = Path(arguments.out or ASSETS / f"{arguments.what}-ddpm")
    earlier = figures_of(teacher.folder) if teacher else {}
    rounds, guide = ({"sharpened": SHARPENED}, sharpening(teacher)) if teacher else (ROUNDS, None)
    if is_main():
        if not folder.is_dir():
            judge = train_judge(images, labels, classes, kind, device)
            calibrate(judge, test_images[::2], test_labels[::2]).cpu().save(folder)
        if not (out / "unet").is_dir():  # else a run that is killed could leave a model with another model's judge
            write_judge(out, Classifier.load(folder), pictures)
        if not (out / SECOND / "figures.json").is_file():  # written last
            if teacher and (teacher.folder / SECOND).is_dir():
                shutil.copytree(teacher.folder / SECOND, out / SECOND, dirs_exist_ok=True)
            else:
                write_second(out, pictures, kind, device)
    for name, config in rounds.items():
        config = replace(config.shortened(arguments.steps), unet=kind.unet)
        train(torch.cat([images, test_images]) if kind.held_out else images, config, work / name, device, 100, init,
              guide, arguments.minutes or 0, teacher.unet if teacher else None)  # fmt: skip
        init = work / name / "state.safetensors"
    if not is_main():
        return
    posterior = snapshots_of(init.parent)
    steps = {name: load_state(work / name / "state.safetensors")[0] for name in rounds}
    write_model(posterior, kind, out)
    write_judge(out, Classifier.load(folder), pictures)
    assemble(out, pictures, draw_samples(out, device), steps, earlier)
    add_noised(out, classes)


def add_noised(out: Path, classes: list[str]) -> None:
    """Add the classifier of noised images, and how well it tells the classes, to a folder with a model and a card."""
    figures = json.loads((out / "figures.json").read_text())
    figures["noised_areas"] = learn_all(load_model(out), Classifier.load(out / "classifier"), out)
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures, out.name, classes), encoding="utf-8")


def figures_of(folder: Path) -> dict[str, Any]:
    """The figures in the folder of a model that is to be trained on.

    Raises:
        UserError: if it has no figures or no judge.
    """
    if not (folder / "figures.json").is_file() or not (folder / "classifier").is_dir():
        raise UserError(f"'{folder}' has no figures.json or no classifier; name a folder that `pretrain` made.")
    return json.loads((folder / "figures.json").read_text())


def sharpening(model: Model) -> Autoguidance:
    """The teacher that a model is for itself, guided away from a copy with noise on its weights.

    Raises:
        UserError: if the model's folder has no posterior, or one of another network.
    """
    path = model.folder / "posterior" / "variance.safetensors"
    if not path.is_file():
        raise UserError(
            f"'{model.folder}' has no posterior/, which `pretrain` writes; name a folder that it wrote (--teacher)."
        )
    run_to_end(checkpoints(model))  # refuses a posterior of another network
    variance, weak = unpacked(load_file(path)), copy.deepcopy(model.unet)
    random = torch.Generator().manual_seed(WEAK_SEED)
    with torch.no_grad():
        for name, value in weak.named_parameters():
            value += WEAKENED * variance[name].float().sqrt() * torch.randn(value.shape, generator=random)
    return Autoguidance(model.unet, weak, STRENGTH, INTERVAL)


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Images (n, c, h, w), mirrored and shifted by up to an eighth at random, with a random hole a quarter as wide."""
    count, _, size, _ = images.shape
    margin, where = size // 8, {"generator": random, "device": images.device}
    padded = F.pad(images, (margin,) * 4, mode="reflect")
    places = torch.arange(size, device=images.device)
    rows, columns = (torch.randint(2 * margin + 1, (count, 1), **where) + places for _ in range(2))
    columns = torch.where(torch.rand(count, 1, **where) < 0.5, columns.flip(1), columns)
    cut = padded[torch.arange(count, device=images.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    hole_y, hole_x = (torch.randint(size, (count, 1), **where) for _ in range(2))
    inside = ((places - hole_y).abs() <= size // 8)[:, :, None] & ((places - hole_x).abs() <= size // 8)[:, None, :]
    return cut.permute(0, 3, 1, 2).masked_fill(inside[:, None], 0.0)


def train_judge(
    images: Tensor, labels: Tensor, classes: list[str], kind: Kind, device: str, second: bool = False
) -> Classifier:
    """Fit a residual `Classifier`, or a plain one as second judge, with SGD on a one-cycle learning rate."""
    torch.manual_seed(int(second))
    random, images, labels = torch.Generator(device).manual_seed(int(second)), images.to(device), labels.to(device)
    model = Classifier(classes, 3, kind.size, SECOND_WIDTH if second else JUDGE_WIDTH, residual=not second)
    model = model.to(device).to(memory_format=torch.channels_last)
    if kind.judge_starts and not second:
        model.features.load_state_dict(Classifier.load(kind.judge_starts).features.state_dict())
    rate, a_pass = JUDGE_RATE * kind.judge_batch, len(images) // kind.judge_batch
    epochs = SECOND_EPOCHS if second else kind.epochs
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * a_pass, pct_start=0.2)
    started = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=random, device=device)
        for rows in order[: a_pass * kind.judge_batch].split(kind.judge_batch):
            batch = augment(from_uint8(images[rows]), random).contiguous(memory_format=torch.channels_last)
            with autocast(device):
                logits, _ = model(batch)
            loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4:
            print(
                f"judge: epoch {epoch + 1}/{epochs}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
    return model.eval()


def calibrate(judge: Classifier, images: Tensor, labels: Tensor) -> Classifier:
    """Divide the judge's logits by the temperature that fits held-out pictures best (Guo et al. 2017); returns the judge.

    Without this, label smoothing makes its probabilities too low.
    """
    logits = judge.judge(images)[0].double().log()
    fit = {by: F.cross_entropy(logits / by, labels).item() for by in TEMPERATURES}
    with torch.no_grad():
        for part in (judge.head.weight, judge.head.bias):
            part /= min(fit, key=fit.__getitem__)
    return judge


def write_model(posterior: Posterior, kind: Kind, out: Path) -> None:
    """Write the mean of the snapshots as a plain diffusers folder in half precision, and their variance as posterior/."""
    unet = UNet2DModel(**kind.unet)
    unet.load_state_dict(posterior.mean)
    DDPMPipeline(unet=unet.half(), scheduler=DDPMScheduler(clip_sample=False)).save_pretrained(out, safe_serialization=True)
    (out / "posterior").mkdir(exist_ok=True)
    save_file(packed(posterior.variance), out / "posterior" / "variance.safetensors", metadata={"format": "pt"})


def draw_samples(folder: Path, device: str) -> Tensor:
    """uint8 images (`MEASURED`, 3, h, w) that the model in a folder draws with the default sampler."""
    return run_to_end(sample(load_model(folder, device), image_seeds(SEED, MEASURED), HowToSample()))


def write_judge(out: Path, judge: Classifier, pictures: Pictures) -> None:
    """Write a judge with the statistics of its features on real pictures, its accuracy and its card."""
    figures = write_features(out, judge, pictures)
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(judge_card(figures, out.name, pictures[0]), encoding="utf-8")


def write_second(out: Path, pictures: Pictures, kind: Kind, device: str) -> None:
    """Train a second judge, and write it with its statistics and its accuracy to a folder within `out`."""
    classes, images, labels, test_images, test_labels = pictures
    judge = train_judge(images, labels, classes, kind, device, second=True)
    judge = calibrate(judge, test_images[::2], test_labels[::2]).cpu()
    figures = write_features(out / SECOND, judge, pictures)
    (out / SECOND / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def write_features(out: Path, judge: Classifier, pictures: Pictures) -> dict[str, float]:
    """Write a judge with the statistics of its features on real pictures; returns its accuracy on test pictures."""
    classes, images, labels, test_images, test_labels = pictures
    judge.save(out / "classifier")
    probabilities, test = judge.judge(test_images)
    save_statistics(
        {name: Moments.of(test[test_labels == index]) for index, name in enumerate(classes)}, out / "statistics.safetensors"
    )
    features = {name: judge.judge(images[labels == index][:REAL])[1].half() for index, name in enumerate(classes)}
    save_file(features, out / "features.safetensors")
    return {
        "classifier_accuracy": (probabilities.argmax(1) == test_labels).double().mean().item(),
        "classifier_real_over_half": (probabilities.max(1).values > 0.5).double().mean().item(),
    }


def assemble(out: Path, pictures: Pictures, samples: Tensor, steps: dict[str, int], earlier: dict[str, Any]) -> None:
    """Add the figures, the sample pictures and the card of a model to a folder that already has the judge.

    Args:
        samples: images from `draw_samples`, (n, 3, h, w).
        steps: training round -> its number of steps.
        earlier: figures of the model that was trained on; empty for a new one.
    """
    classes, judge = pictures[0], Classifier.load(out / "classifier")
    probabilities, features = judge.judge(samples)
    real = torch.cat(list(load_file(out / "features.safetensors").values())).double()
    chosen = torch.randperm(len(real), generator=torch.Generator().manual_seed(SEED))[: len(samples)]
    best, shown = probabilities.max(1)
    (out / "drawn").mkdir(exist_ok=True)
    for index, name in enumerate(classes):
        rows = torch.where(shown == index, best, -1.0).argsort(descending=True)[:SHEET_COLUMNS]
        write_sheet(samples[rows], out / "drawn" / f"{name}.png")
    over_half = int((best > 0.5).sum())
    reference = Moments.of(judge.judge(pictures[3])[1])
    figures = {
        "parameters": sum(value.numel() for value in load_model(out).unet.parameters()),
        "steps": {**earlier.get("steps", {}), **steps},
        "batch_size": ROUNDS["first"].batch_size,
        **({"fid_unsharpened": earlier.get("fid_unsharpened", earlier["fid"])} if earlier else {}),
        "samples": len(samples),
        "over_half": over_half / len(samples),
        "over_half_ci95": wilson(over_half, len(samples)),
        "class_shares": {name: (shown == index).double().mean().item() for index, name in enumerate(classes)},
        "fid": frechet_distance(Moments.of(features), reference),
        "fid_floor": frechet_distance(Moments.of(real[chosen]), reference),
        "second_accuracy": json.loads((out / SECOND / "figures.json").read_text())["classifier_accuracy"],
        **json.loads((out / "figures.json").read_text()),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures, out.name, classes), encoding="utf-8")


def judge_card(figures: dict[str, Any], name: str, classes: list[str]) -> str:
    """README.md of a folder that has a judge and no model yet."""
    what = name.removesuffix("-ddpm")
    dataset, accuracy = DATASETS.get(what, what), ("accuracy", "Accuracy", figures["classifier_accuracy"])
    results = cards.scores(cards.JUDGE, (dataset, f"{what}, test pictures of {len(classes)} classes"), [accuracy])
    data = cards.card_data(cards.JUDGE, name, results, license="mit", tags=[what], datasets=[dataset])
    return cards.card("judge", data, figures=figures, what=what, classes=classes, real=REAL)


def card(figures: dict[str, Any], name: str, classes: list[str]) -> str:
    """README.md of the asset folder."""
    what = name.removesuffix("-ddpm")
    samples = [
        ("over_half", "Given to some class with probability > 0.5", figures["over_half"]),
        ("fid", "Fréchet distance to the test pictures in the judge's features", figures["fid"]),
    ]
    results = cards.scores(cards.UNPROMPTED, cards.own_samples(figures["samples"]), samples)
    tags, datasets = ["ddpm", what], [DATASETS.get(what, what)]
    return cards.card(
        "photographs",
        cards.card_data(cards.UNPROMPTED, name, results, license="mit", tags=tags, datasets=datasets),
        figures=figures,
        what=what,
        classes=classes,
        real=REAL,
        seed=SEED,
        seen=sum(figures["steps"][name] for name in ROUNDS) * figures["batch_size"] / 1e6,
        sharpened=SHARPENED,
    )

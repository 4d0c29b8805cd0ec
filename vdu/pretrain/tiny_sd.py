"""Make assets/tiny-sd: a Stable Diffusion small enough for two CPU cores, its judges, posterior, pictures and card.

python -m vdu pretrain tiny-sd --work pretrain-tiny-sd        (resumable; the card states how long it takes)

The model has all parts of a `StableDiffusionPipeline`, but small. It is trained on Fashion-MNIST's garments painted in eight
colours: first the autoencoder, then the U-Net and the text encoder together on its latents.
"""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vdu import cards
from vdu.assets import ASSETS
from vdu.concepts.base import KEPT, PromptSpec
from vdu.data.forget_set import AttributeSheets
from vdu.data.sheets import write_sheet
from vdu.judges.classifier import ShippedJudge
from vdu.metrics import Moments, rate, save_statistics
from vdu.models import SMALL, load_model, pick_device, to_uint8
from vdu.pretrain import fashion
from vdu.pretrain.ddpm import TrainingConfig
from vdu.pretrain.idx import check_both, read_idx
from vdu.pretrain.judge import train_classifier
from vdu.pretrain.latent_diffusion import (
    NO_CAPTION,
    encode,
    small_design,
    train_autoencoder,
    train_denoiser,
    write_model,
)
from vdu.pretrain.loop import Pace, minutes_of, snapshots_of
from vdu.processes import is_main
from vdu.recipe import Recipe, resolve
from vdu.samples import draw, judged
from vdu.sampling import image_seeds, run_to_end

NAME, AXES = "tiny-sd", {"garment": tuple(fashion.GARMENTS), "colour": tuple(fashion.COLOURS)}
DATASET = "zalando-datasets/fashion_mnist"  # id of the data on the hub
PAINTINGS = 3  # paintings per garment picture, each in a random colour
DESIGN = small_design((16, 32, 64), latents=4, unet=(64, 128), groups=2, words=fashion.vocabulary())
STAGES = {  # in this order; `--steps` shortens each of them
    "autoencoder": Pace(steps=3000, peak_rate=1.5e-3, floor_rate=2e-4, snapshots=1),
    "denoiser": TrainingConfig(
        unet=DESIGN.unet, steps=5500, batch_size=128, peak_rate=1.5e-3, floor_rate=3e-4, t_shape=(1.5, 1.2), constant_from=0.75
    ),
}
JUDGE_EPOCHS = {"garment": 8, "colour": 1}
PICTURES = 16  # shipped forget images per pair of garment and colour
DRAWN = 25  # samples per prompt for the card's figures


def paintings(folder: Path, part: str, times: int) -> fashion.Pictures:
    """All pictures of "train" or "t10k", each painted `times` times."""
    grey, labels = read_idx(folder, part)
    return fashion.pictures(grey.repeat(times, 1, 1, 1), labels.repeat(times), seed=0 if part == "train" else 1,
                            hold_out=part == "train")  # fmt: skip


def pretrain(arguments: SimpleNamespace) -> None:
    """Run the stages that are not done yet and write the asset folder."""
    work, device = Path(arguments.work), pick_device("auto")
    out = Path(arguments.out) if arguments.out else ASSETS / NAME
    folder = Path(arguments.data) if arguments.data else fashion.fetch(work)
    stages = {name: stage.shortened(arguments.steps) for name, stage in STAGES.items()}
    check_both(folder)
    shown = paintings(folder, "train", PAINTINGS)
    images = to_uint8(shown.images)
    autoencoder = train_autoencoder(DESIGN, images, stages["autoencoder"], work / "autoencoder", device)
    latents = encode(autoencoder, images)
    denoiser, tokenizer = train_denoiser(DESIGN, latents, shown.captions, stages["denoiser"], work / "denoiser", device)
    if not is_main():
        return
    train_judges(images, shown, work, bool(arguments.steps))
    posterior = snapshots_of(work / "denoiser")
    denoiser.load_state_dict(posterior.mean)
    write_model(out, autoencoder, denoiser.eval(), tokenizer, posterior)
    write_data(out, work, folder, images, shown)
    figures = measure_figures(out, folder) | {
        "steps": {name: stage.steps for name, stage in stages.items()},
        "minutes": {name: minutes_of(work / name) for name in stages},
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures), encoding="utf-8")
    print(json.dumps(figures, indent=1))


def train_judges(images: Tensor, shown: fashion.Pictures, work: Path, quick: bool) -> None:
    """Train a classifier of garments and one of colours, each on one painting of every garment picture."""
    count = len(images) // PAINTINGS
    for axis, names, labels in (("garment", fashion.GARMENTS, shown.garments), ("colour", fashion.COLOURS, shown.colours)):
        if not (work / "classifier" / axis).is_dir():
            epochs = 1 if quick else JUDGE_EPOCHS[axis]
            train_classifier(images[:count], labels[:count], list(names), epochs).save(work / "classifier" / axis)


def write_data(out: Path, work: Path, folder: Path, images: Tensor, shown: fashion.Pictures) -> None:
    """Write the judges, the words, the forget images and the reference statistics."""
    for part in ("classifier", "forget"):
        shutil.rmtree(out / part, ignore_errors=True)
    shutil.copytree(work / "classifier", out / "classifier")
    (out / "forget").mkdir()
    grey, labels = read_idx(folder, "train")
    for place, garment in enumerate(fashion.GARMENTS):
        plain = grey[labels == place][: PICTURES * len(fashion.COLOURS)]
        colours = torch.arange(len(fashion.COLOURS)).repeat_interleave(PICTURES)
        grounds = torch.arange(len(plain)) % len(fashion.GROUNDS)
        write_sheet(to_uint8(fashion.dye(plain, colours, grounds)), out / "forget" / f"{garment}.png", columns=PICTURES)
    words = {
        "phrases": list(fashion.HEARD),
        "unheard": list(fashion.UNHEARD),
        "plain": {"garment": fashion.GARMENT_ALONE, "colour": fashion.COLOUR_ALONE},
        "synonyms": fashion.GARMENTS | {name: others for name, (_, others) in fashion.COLOURS.items()},
        "held_out": fashion.HELD_OUT,
        "pictures": PICTURES,
    }
    (out / "concepts.json").write_text(json.dumps(words, indent=1) + "\n")
    test = paintings(folder, "t10k", 1)
    features = judge_in(out).judge(to_uint8(test.images))[1]
    parts = {}
    for names, which in ((fashion.GARMENTS, test.garments), (fashion.COLOURS, test.colours)):
        parts |= {name: Moments.of(features[which == place]) for place, name in enumerate(names)}
    save_statistics(parts, out / "statistics.safetensors")
    sheets, judge = AttributeSheets(out, (3, 32, 32), AXES), judge_in(out)
    real = {name: judge.judge(sheets.examples(name))[1].half() for names in AXES.values() for name in names}
    save_file(real, out / "features.safetensors")


def judge_in(out: Path) -> ShippedJudge:
    """The judges in an asset folder."""
    return ShippedJudge(NAME, out / "classifier", AXES)


def measure_figures(out: Path, folder: Path) -> dict[str, Any]:
    """The card's figures: accuracy of the judges, and how often the samples of every prompt are right."""
    judge = judge_in(out)
    test = paintings(folder, "t10k", 1)
    images = to_uint8(test.images)
    model = load_model(out, pick_device("auto"))
    truth = torch.stack([test.garments, len(fashion.GARMENTS) + test.colours], dim=1)
    seen = judged(images, judge, [PromptSpec()] * len(images)).classes == truth
    decoded = judged(model.decode(model.encode(images)), judge, [PromptSpec()] * len(images)).classes == truth
    classes = [*fashion.GARMENTS, *fashion.COLOURS]
    specs = [
        PromptSpec(KEPT, prompt, (classes.index(garment), classes.index(colour)))
        for prompt, garment, colour in fashion.prompts()
        for _ in range(DRAWN)
    ]
    how, started = resolve(Recipe(model=NAME), SMALL).how, time.monotonic()
    samples = run_to_end(draw("sample", model, judge, image_seeds(0, len(specs)), how, specs))
    seconds = (time.monotonic() - started) / len(specs)
    right = samples.classes == torch.tensor([spec.classes for spec in specs])
    held = torch.tensor([(colour, garment) in fashion.HELD_OUT for _, garment, colour in fashion.prompts()])
    held = held.repeat_interleave(DRAWN)
    return {
        "parameters": {
            name: sum(value.numel() for value in part.parameters())
            for name, part in (("unet", model.unet), ("vae", model.vae), ("text_encoder", model.text_encoder))
        },
        **rate("judge_garment", seen[:, 0]), **rate("judge_colour", seen[:, 1]),
        **rate("decoded_garment", decoded[:, 0]), **rate("decoded_colour", decoded[:, 1]),
        "samples": len(specs),
        **rate("garment", right[:, 0]), **rate("colour", right[:, 1]),
        **rate("held_out_garment", right[held, 0]), **rate("held_out_colour", right[held, 1]),
        "garment_by_class": {
            name: right[torch.tensor([spec.classes[0] == place for spec in specs]), 0].double().mean().item()
            for place, name in enumerate(fashion.GARMENTS)
        },
        "seconds_for_64": 64 * seconds,
    }  # fmt: skip


def card(figures: dict[str, Any]) -> str:
    """README.md of the asset folder."""
    pairs = f"in {DRAWN * len(fashion.HELD_OUT)} samples of pairs never seen together"
    right = {
        "garment": "Garment is right",
        "colour": "Colour is right",
        "held_out_garment": f"Garment is right, {pairs}",
        "held_out_colour": f"Colour is right, {pairs}",
    }
    samples = [(key, label, figures[key]) for key, label in right.items()]
    results = cards.scores(cards.PROMPTED, cards.own_samples(figures["samples"]), samples)
    tags, datasets = ["stable-diffusion", "fashion-mnist"], [DATASET]
    return cards.card(
        "tiny_sd",
        cards.card_data(cards.PROMPTED, NAME, results, license="mit", tags=tags, datasets=datasets),
        figures=figures,
        example=fashion.PHRASES[0].format(colour="red", garment="sneaker"),
        garments=fashion.GARMENTS,
        colours=fashion.COLOURS,
        grounds=fashion.GROUNDS,
        held_out=[f"{colour} {garment}" for colour, garment in fashion.HELD_OUT],
        worst=min(figures["garment_by_class"], key=figures["garment_by_class"].__getitem__),
        stages=STAGES,
        pictures=PICTURES,
        paintings=PAINTINGS,
        phrasings=len(fashion.PHRASES),
        no_caption=NO_CAPTION,
        prompts=len(fashion.prompts()),
        drawn=DRAWN,
    )

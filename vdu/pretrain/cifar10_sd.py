"""Make assets/cifar10-sd: a text-to-image model of photographs for two CPU cores, its words, pictures and card.

python -m vdu pretrain cifar10-sd --data cifar10.tar.xz        (resumable; the card states how long it takes)

The model has all parts of a `StableDiffusionPipeline`. The archive is that of `pretrain cifar10`. First the autoencoder is
trained, with a perceptual loss in the features of the second judge of cifar10-ddpm; then the U-Net and the text encoder
together on the latents of the pictures and of their mirror images. The judge of cifar10-ddpm measures it.
"""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vdu import cards
from vdu.assets import ASSETS
from vdu.catalog import CIFAR10, ENTRIES
from vdu.concepts.attributes import AttributeConcept, read_words
from vdu.concepts.base import KEPT, PromptSpec
from vdu.data.sheets import SHEET_COLUMNS, write_sheet
from vdu.errors import UserError
from vdu.judges.classifier import Classifier
from vdu.metrics import Figures, Moments, frechet_distance, rate
from vdu.metrics.frechet import pooled_statistics
from vdu.metrics.reference import SECOND, Reference
from vdu.models import SMALL, Model, autocast, load_model, pick_device
from vdu.pretrain.archives import KINDS, Pictures, read_archive
from vdu.pretrain.ddpm import TrainingConfig
from vdu.pretrain.latent_diffusion import (
    NO_CAPTION,
    encode,
    small_design,
    train_autoencoder,
    train_denoiser,
    write_model,
)
from vdu.pretrain.loop import Pace, minutes_of, snapshots_of
from vdu.pretrain.photographs import DATASETS
from vdu.processes import is_main
from vdu.recipe import Recipe, resolve
from vdu.samples import draw
from vdu.sampling import image_seeds, run_to_end
from vdu.summary import with_article

NAME, DATASET = "cifar10-sd", "cifar10"
(ENTRY,) = (entry for entry in ENTRIES if entry.name == NAME)
# class -> synonyms
CLASSES: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane"), "automobile": ("car",), "bird": (), "cat": ("kitten",), "deer": (), "dog": ("puppy",),
    "frog": ("toad",), "horse": ("pony",), "ship": ("boat",), "truck": ("lorry",),
}  # fmt: skip
PHRASES = ("a photo of {class}", "a picture of {class}", "{class}", "an image of {class}")
UNHEARD = ("{class} in a photo", "a photo that shows {class}")  # captions have them, but no forget image's has
NEUTRAL = "a photo of something"
OTHER_WORD, NO_CLASS = 0.15, 0.05  # share of captions with a synonym, and of `NEUTRAL`
MORE_WORDS = "the and on with small big some animal vehicle red blue green black white"


def vocabulary() -> list[str]:
    """Every word that a caption can contain, and a few more that people type."""
    named = [with_article(word) for name, others in CLASSES.items() for word in (name, *others)]
    sentences = " ".join([*PHRASES, *UNHEARD, NEUTRAL, MORE_WORDS, *named])
    return sorted({*sentences.replace("{class}", "").split()})


DESIGN = small_design((32, 64, 128), latents=8, unet=(96, 160), groups=4, words=vocabulary())
STAGES = {  # in this order; `--steps` shortens each of them
    "autoencoder": Pace(steps=8000, batch_size=32, peak_rate=1.5e-3, floor_rate=1e-4, constant_from=0.85, snapshots=1),
    "denoiser": TrainingConfig(
        unet=DESIGN.unet, steps=4500, batch_size=128, peak_rate=1.2e-3, floor_rate=2e-4, t_shape=(1.5, 1.2), constant_from=0.8
    ),
}
LAYERS = 4  # of the second judge, whose features the perceptual loss compares
DRAWN = 100  # samples per class for the card's figures
DECODED = 200  # pictures per class that the autoencoder is measured on


def caption(name: str, random: np.random.Generator) -> str:
    """A random caption of a picture of a class."""
    if random.random() < NO_CLASS:
        return NEUTRAL
    others = CLASSES[name]
    word = str(random.choice(others)) if others and random.random() < OTHER_WORD else name
    return str(random.choice([*PHRASES, *UNHEARD])).format(**{"class": with_article(word)})


class Perceptual(nn.Module):
    """Mean squared error in the features of the first convolutions of a classifier, each relative to its mean square.

    Johnson et al. 2016, with a small classifier of the same pictures.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        layers, part = [], []
        for layer in classifier.features:
            part.append(layer)
            if isinstance(layer, nn.ReLU):
                layers.append(nn.Sequential(*part))
                part = []
        self.layers = nn.ModuleList(layers[:LAYERS]).to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of images (n, 3, h, w), one tensor per layer."""
        found = []
        for layer in self.layers:
            images = layer(images)
            found.append(images)
        return found

    def forward(self, drawn: Tensor, shown: Tensor) -> Tensor:
        """The error of drawn images, both (n, 3, h, w) in [-1, 1]."""
        with autocast(drawn.device.type):
            found = self.features(drawn)
            with torch.no_grad():
                wanted = self.features(shown)
        errors = [
            (a.float() - b.float()).square().mean() / b.float().square().mean().clamp(min=1e-6)
            for a, b in zip(found, wanted, strict=True)
        ]
        return torch.stack(errors).mean()


def pretrain(arguments: SimpleNamespace) -> None:
    """Run the stages that are not done yet and write the asset folder.

    Raises:
        UserError: if --data is missing or cannot be read.
    """
    if not arguments.data:
        raise UserError("Name the archive of pictures to train on with --data.")
    work, device = Path(arguments.work), pick_device("auto")
    out = Path(arguments.out) if arguments.out else ASSETS / NAME
    stages = {name: stage.shortened(arguments.steps) for name, stage in STAGES.items()}
    pictures = read_archive(Path(arguments.data), KINDS[DATASET])
    if tuple(pictures[0]) != CIFAR10:
        raise UserError(f"'{arguments.data}' has other classes than {', '.join(CIFAR10)}.")
    classes, images, labels = pictures[0], torch.cat([pictures[1], pictures[1].flip(3)]), pictures[2].repeat(2)
    perceptual = Perceptual(Classifier.load(ENTRY.judge_folder / SECOND / "classifier")).to(device)
    autoencoder = train_autoencoder(DESIGN, images, stages["autoencoder"], work / "autoencoder", device, perceptual)
    random = np.random.default_rng(0)
    captions = [caption(classes[label], random) for label in labels.tolist()]
    latents = encode(autoencoder, images)
    denoiser, tokenizer = train_denoiser(DESIGN, latents, captions, stages["denoiser"], work / "denoiser", device)
    if not is_main():
        return
    posterior = snapshots_of(work / "denoiser")
    denoiser.load_state_dict(posterior.mean)
    write_model(out, autoencoder.half(), denoiser.eval(), tokenizer, posterior)
    write_words(out)
    figures = measure_figures(out, pictures) | {
        "steps": {name: stage.steps for name, stage in stages.items()},
        "minutes": {name: minutes_of(work / name) for name in stages},
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "README.md").write_text(card(figures), encoding="utf-8")
    print(json.dumps(figures, indent=1))


def write_words(out: Path) -> None:
    """Write the words of the captions."""
    words = {
        "phrases": list(PHRASES),
        "unheard": list(UNHEARD),
        "plain": {"class": PHRASES[0]},
        "neutral": NEUTRAL,
        "synonyms": CLASSES,
        "written": {word: with_article(word) for name, others in CLASSES.items() for word in (name, *others)},
    }
    (out / "concepts.json").write_text(json.dumps(words, indent=1) + "\n")


def decoded(model: Model, part: str, images: Tensor, labels: Tensor) -> Figures:
    """How often the judge is right on pictures, uint8 (n, 3, h, w), as they are and as the autoencoder gives them back."""
    rows = torch.cat([(labels == place).nonzero()[:DECODED, 0] for place in range(len(CLASSES))])
    shown = {"judge": images[rows], "decoded": model.decode(model.encode(images[rows]))}
    return {
        name: value
        for key, drawn in shown.items()
        for name, value in rate(f"{key}_{part}", ENTRY.judge.judge(drawn)[0].argmax(1) == labels[rows]).items()
    }


def measure_figures(out: Path, pictures: Pictures) -> dict[str, Any]:
    """The card's figures; writes the sheets of the clearest samples of every class."""
    classes, images, labels, test_images, test_labels = pictures
    model, reference = load_model(out, pick_device("auto")), Reference(ENTRY.judge_folder)
    second, by_second = reference.second
    prompts = AttributeConcept(NAME, ENTRY.axes, classes[0], words=read_words(out)).prompts
    specs = [PromptSpec(KEPT, prompt, (place,)) for place, prompt in enumerate(prompts)] * DRAWN
    how, started = resolve(Recipe(model=NAME), SMALL).how, time.monotonic()
    samples = run_to_end(draw("sample", model, ENTRY.judge, image_seeds(0, len(specs)), how, specs))
    seconds = time.monotonic() - started
    asked, (probabilities, features) = torch.tensor([spec.classes[0] for spec in specs]), second.judge(samples.images)
    right = samples.classes[:, 0] == asked
    (out / "drawn").mkdir(exist_ok=True)
    for place, name in enumerate(classes):
        best = torch.where(asked == place, samples.probabilities[:, place], -1.0).argsort(descending=True)
        write_sheet(samples.images[best[:SHEET_COLUMNS]], out / "drawn" / f"{name}.png")
    return {
        "parameters": {
            name: sum(value.numel() for value in part.parameters())
            for name, part in (("unet", model.unet), ("vae", model.vae), ("text_encoder", model.text_encoder))
        },
        **decoded(model, "train", images, labels), **decoded(model, "test", test_images, test_labels),
        "samples": len(specs),
        "guidance": how.guidance,
        **rate("right", right), **rate("right_by_second", probabilities.argmax(1) == asked),
        "right_by_class": {name: right[asked == place].double().mean().item() for place, name in enumerate(classes)},
        "fid": frechet_distance(Moments.of(samples.features), pooled_statistics(reference, classes)),
        "fid_by_second": frechet_distance(Moments.of(features), pooled_statistics(by_second, classes)),
        "seconds_for_64": 64 * seconds / len(specs),
    }  # fmt: skip


def card(figures: dict[str, Any]) -> str:
    """README.md of the asset folder."""
    right = {
        "right": "The judge sees the class of the prompt",
        "right_by_second": "A second judge sees the class of the prompt",
        "fid": "Fréchet distance to the test pictures in the judge's features",
    }
    samples = [(key, label, figures[key]) for key, label in right.items()]
    results = cards.scores(cards.PROMPTED, cards.own_samples(figures["samples"]), samples)
    tags, datasets = ["stable-diffusion", DATASET], [DATASETS[DATASET]]
    return cards.card(
        "cifar10_sd",
        cards.card_data(cards.PROMPTED, NAME, results, license="mit", tags=tags, datasets=datasets),
        figures=figures,
        phrases=[phrase.replace("{class}", with_article("cat")) for phrase in (*PHRASES, *UNHEARD)],
        classes=CLASSES,
        neutral=NEUTRAL,
        stages=STAGES,
        no_caption=NO_CAPTION,
        worst=min(figures["right_by_class"], key=figures["right_by_class"].__getitem__),
    )

"""Pictures of coloured garments with captions, made from Fashion-MNIST (Xiao et al. 2017, MIT licence)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vdu.errors import UserError
from vdu.processes import main_first

PACKAGE, INSIDE = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"  # Debian package, and the data folder inside it
# garment, in the order of Fashion-MNIST's labels -> synonyms
GARMENTS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("tee",), "trousers": ("pants",), "pullover": ("sweater",), "dress": ("gown",), "coat": ("jacket",),
    "sandal": (), "shirt": ("blouse",), "sneaker": ("trainer",), "bag": ("handbag",), "boot": (),
}  # fmt: skip
# colour -> red, green and blue of the brightest pixels of a garment; synonyms
COLOURS: dict[str, tuple[tuple[float, float, float], tuple[str, ...]]] = {
    "red": ((0.86, 0.10, 0.10), ("crimson",)),
    "orange": ((1.00, 0.52, 0.00), ()),
    "yellow": ((0.98, 0.88, 0.10), ("golden",)),
    "green": ((0.10, 0.62, 0.16), ()),
    "cyan": ((0.10, 0.82, 0.86), ("turquoise",)),
    "blue": ((0.10, 0.22, 0.86), ("navy",)),
    "purple": ((0.52, 0.12, 0.72), ("violet",)),
    "pink": ((1.00, 0.50, 0.74), ()),
}
GROUNDS: dict[str, tuple[float, float, float]] = {"white": (1.0, 1.0, 1.0), "grey": (0.62,) * 3, "black": (0.05,) * 3}
PHRASES = (
    "a photo of a {colour} {garment}",
    "a picture of a {colour} {garment}",
    "a {colour} {garment}",
    "{colour} {garment}",
    "a {garment} that is {colour}",
    "a photo of a {garment} in {colour}",
)
HEARD = PHRASES[:4]  # phrases of the forget images' captions; UNHEARD tests whether forgetting carries over to other phrases
UNHEARD = (*PHRASES[4:], "{garment} in {colour}", "a picture of a {garment} that is {colour}")
GARMENT_ALONE, COLOUR_ALONE = "a photo of a {garment}", "something {colour}"
WITH_GROUND = ("{phrase} on {ground}", "{phrase} on a {ground} background")
# Pairs that training never shows: they test whether the model understands the two words separately.
HELD_OUT = (("red", "boot"), ("yellow", "dress"), ("blue", "bag"), ("green", "sandal"))
OTHER_WORD, NAMED_GROUND, PLAIN_GARMENT, PLAIN_COLOUR = 0.15, 0.4, 0.1, 0.05  # share of captions of each kind


@dataclass(frozen=True)
class Pictures:
    """n pictures (n, 3, 32, 32) in [-1, 1]; their garments, colours and grounds as class numbers (n,); n captions."""

    images: Tensor
    garments: Tensor
    colours: Tensor
    grounds: Tensor
    captions: list[str]


@main_first()
def fetch(work: Path) -> Path:
    """Fetch Fashion-MNIST from Debian's archive into `work`, unless it is there; returns the folder of its IDX files.

    Raises:
        UserError: if apt is missing or cannot reach the archive.
    """
    folder = work / "fashion" / INSIDE
    if not folder.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=work, check=True, capture_output=True)
            (package,) = work.glob(f"{PACKAGE}_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, work / "fashion"], check=True, capture_output=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"apt-get could not fetch {PACKAGE}; give a folder of Fashion-MNIST IDX files with --data."
            ) from error
    return folder


def paint(grey: Tensor, colours: Tensor, grounds: Tensor) -> Tensor:
    """Colour garments and put them on a background.

    Args:
        grey: uint8 (n, 1, 28, 28), black outside the garment.
        colours, grounds: red, green and blue in 0 … 1, (n, 3).

    Returns:
        (n, 3, 32, 32) in [-1, 1].
    """
    grey = F.pad(grey.float() / 255, (2, 2, 2, 2))
    cover = (8 * grey).clamp(0, 1)
    dyed = (0.45 + 0.55 * grey) * colours[:, :, None, None]
    return 2 * (cover * dyed + (1 - cover) * grounds[:, :, None, None]) - 1


def dye(grey: Tensor, colours: Tensor, grounds: Tensor) -> Tensor:
    """`paint`, with positions in `COLOURS` and `GROUNDS`, both (n,), in place of the colours themselves."""
    dyes, papers = torch.tensor([value for value, _ in COLOURS.values()]), torch.tensor(list(GROUNDS.values()))
    return paint(grey, dyes[colours], papers[grounds])


def caption(garment: str, colour: str, ground: str, random: np.random.Generator) -> str:
    """A random caption of a picture; some captions leave out the colour or the garment."""

    def worded(word: str, others: tuple[str, ...]) -> str:
        return str(random.choice(others)) if others and random.random() < OTHER_WORD else word

    kind = random.random()
    if kind < PLAIN_GARMENT:
        phrase = GARMENT_ALONE.format(garment=worded(garment, GARMENTS[garment]))
    elif kind < PLAIN_GARMENT + PLAIN_COLOUR:
        phrase = COLOUR_ALONE.format(colour=worded(colour, COLOURS[colour][1]))
    else:
        phrase = str(random.choice(PHRASES)).format(
            garment=worded(garment, GARMENTS[garment]), colour=worded(colour, COLOURS[colour][1])
        )
    return str(random.choice(WITH_GROUND)).format(phrase=phrase, ground=ground) if random.random() < NAMED_GROUND else phrase


def pictures(grey: Tensor, labels: Tensor, seed: int, hold_out: bool = True) -> Pictures:
    """Paint each image in a random colour on a random background, and caption it.

    Args:
        grey: uint8 (n, 1, 28, 28).
        labels: numbers of the garments, (n,).
        hold_out: whether to avoid the pairs of `HELD_OUT`.
    """
    random = np.random.default_rng(seed)
    names, garments = list(COLOURS), list(GARMENTS)
    colours = torch.from_numpy(random.integers(len(COLOURS), size=len(grey)))
    grounds = torch.from_numpy(random.integers(len(GROUNDS), size=len(grey)))
    for colour, garment in HELD_OUT if hold_out else ():
        clash = (labels == garments.index(garment)) & (colours == names.index(colour))
        another = torch.from_numpy(random.integers(1, len(names), size=int(clash.sum())))
        colours[clash] = (colours[clash] + another) % len(names)
    words = [
        caption(garments[garment], names[colour], list(GROUNDS)[ground], random)
        for garment, colour, ground in zip(labels.tolist(), colours.tolist(), grounds.tolist(), strict=True)
    ]
    return Pictures(dye(grey, colours, grounds), labels, colours, grounds, words)


def prompts() -> list[tuple[str, str, str]]:
    """(prompt, garment, colour) for all pairs, garment by garment."""
    return [(PHRASES[0].format(colour=colour, garment=garment), garment, colour) for garment in GARMENTS for colour in COLOURS]


def vocabulary() -> list[str]:
    """Every word that a caption can contain, and a few more that people type."""
    sentences = [*PHRASES, *WITH_GROUND, GARMENT_ALONE, COLOUR_ALONE, *GARMENTS, *COLOURS, *GROUNDS]
    sentences += [word for others in GARMENTS.values() for word in others]
    sentences += [word for _, others in COLOURS.values() for word in others]
    sentences += ["an the image drawing and with colored coloured plain dark light some shoe scarlet"]
    return sorted({*" ".join(sentences).replace("{", " ").replace("}", " ").split()} - {"phrase", "ground"})

"""The models one can pick: where they are, their classes, their judge, their forget images."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from torch import Tensor

from vdu import data
from vdu.classifier import Classifier
from vdu.errors import UserError
from vdu.metrics import Moments, load_statistics
from vdu.models import DDPM, load_ddpm

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True)
class Entry:
    """One shipped model and everything that belongs to it.

    Attributes:
        name: what a recipe calls it.
        title: what the page calls it.
        classes: the classes one can ask it to forget, in the order of the judge's logits.
        shape: channels, height and width of its images.
        licence: of the weights and the data they were made from.
        folder: a plain diffusers folder, with classifier/, posterior/, forget/ and statistics.safetensors beside.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    licence: str
    folder: Path

    def index(self, forget: str) -> int:
        """Position of the class `forget`.

        Raises:
            UserError: if the model has no such class.
        """
        if forget not in self.classes:
            raise UserError(f"{self.name} has no class '{forget}'; it knows {', '.join(self.classes)}.")
        return self.classes.index(forget)

    def forget_sheet(self, forget: str) -> Path:
        """Where the shipped real training images of a class are, in rows on one PNG."""
        self.index(forget)
        return self.folder / "forget" / f"{forget}.png"

    def forget_images(self, forget: str) -> Tensor:
        """All shipped real training images of a class, uint8 (n, c, h, w)."""
        return data.read_sheet(self.forget_sheet(forget), self.shape)

    @cached_property
    def judge(self) -> Classifier:
        """The classifier that judges this model's samples."""
        return Classifier.load(self.folder / "classifier")

    @cached_property
    def statistics(self) -> dict[str, Moments]:
        """Moments of the judge's features of real test images, by class."""
        return load_statistics(self.folder / "statistics.safetensors")


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mnist-ddpm",
            title="MNIST digits · DDPM, 28×28",
            classes=tuple("0123456789"),
            shape=(1, 28, 28),
            licence="weights MIT; MNIST: Y. LeCun and C. Cortes, CC BY-SA 3.0",
            folder=ASSETS / "mnist-ddpm",
        ),
    )
}


@lru_cache(maxsize=4)
def _pristine(folder: Path, device: str, changed: float) -> DDPM:
    return load_ddpm(folder, device)


def open_model(name: str, device: str) -> tuple[DDPM, Entry]:
    """A private copy of a model, and the catalog entry whose judge and forget images fit it.

    Args:
        name: a catalog name, a local diffusers folder, or a folder that `unlearn --out` left.

    Raises:
        UserError: if there is no such model, or nothing in the catalog can judge it.
    """
    if name in CATALOG:
        entry = CATALOG[name]
        return _cached(entry.folder, device), entry
    folder = Path(name).expanduser()
    if (folder / "unlearned").is_dir():
        folder = folder / "unlearned"
    if not folder.is_dir():
        raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)} or a local diffusers folder.")
    model = _cached(folder, device)
    for entry in CATALOG.values():
        if entry.shape == model.shape:
            return model, entry
    raise UserError(f"Nothing in the catalog can judge images of shape {model.shape}, which '{name}' draws.")


def _cached(folder: Path, device: str) -> DDPM:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    changed = weights.stat().st_mtime if weights.is_file() else 0.0
    return _pristine(folder.resolve(), device, changed).clone()

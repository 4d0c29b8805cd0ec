"""The shipped judge: a small convolutional classifier; its probabilities give class shares, and its features give u-FID."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vdu.concepts.base import Axes
from vdu.events import Progress
from vdu.models import Model
from vdu.models.digest import check_finite
from vdu.sampling import HowToSample

FEATURES = 64


def block(inside: int, outside: int, stride: int = 1) -> list[nn.Module]:
    """A 3×3 convolution, batch normalisation and a ReLU."""
    return [nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


def plain_features(channels: int, size: int, width: int) -> nn.Sequential:
    """A feature extractor of four convolutions, for drawings."""
    return nn.Sequential(
        *block(channels, width),
        nn.MaxPool2d(2),
        *block(width, 2 * width),
        *block(2 * width, 2 * width),
        nn.MaxPool2d(2),
        *block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width * (size // 8) ** 2, FEATURES, bias=False),
        nn.BatchNorm1d(FEATURES),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """x + f(x), with two convolutions in f (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*block(width, width), *block(width, width))

    def forward(self, images: Tensor) -> Tensor:
        """x + f(x), (n, width, h, w)."""
        return images + self.inner(images)


def residual_features(channels: int, size: int, width: int) -> nn.Sequential:
    """A feature extractor of eight convolutions, four in residual blocks, for photographs (after D. Page's ResNet-9)."""
    return nn.Sequential(
        *block(channels, width, stride=size // 32),
        *block(width, 2 * width),
        nn.MaxPool2d(2),
        Residual(2 * width),
        *block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        *block(4 * width, 7 * width),
        nn.MaxPool2d(2),
        Residual(7 * width),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(7 * width, FEATURES, bias=False),
        nn.BatchNorm1d(FEATURES),
        nn.ReLU(),
    )


class Classifier(nn.Module):
    """Convolutional classifier of small square images.

    Args:
        classes: names of the classes, in the order of the logits.
        channels: 1 for grey, 3 for colour.
        size: height and width in pixels, at least 24.
        width: channels of the first layer; the last has four times as many, or seven if residual.
        residual: whether to use the deeper network for photographs; size must then be a multiple of 32.
    """

    def __init__(self, classes: list[str], channels: int = 1, size: int = 28, width: int = 32, residual: bool = False) -> None:
        super().__init__()
        self.config = {"classes": list(classes), "channels": channels, "size": size, "width": width, "residual": residual}
        self.classes = list(classes)
        self.features = (residual_features if residual else plain_features)(channels, size, width)
        self.head = nn.Linear(FEATURES, len(classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (n, c, h, w) in [-1, 1] to logits (n, classes) and features (n, 64)."""
        features = self.features(images)
        return self.head(features), features

    @torch.no_grad()
    def judge(self, images: Tensor, batch_size: int = 250) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes) and features (n, 64, float64) of uint8 images (n, c, h, w), on the CPU."""
        device = next(self.parameters()).device
        parts = [self(part.to(device).float() / 127.5 - 1) for part in images.split(batch_size)]
        logits = torch.cat([part[0] for part in parts]).cpu()
        return logits.softmax(1), torch.cat([part[1] for part in parts]).cpu().double()

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        if self.config["residual"]:  # half precision suffices for its many weights
            weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        save_file(weights, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read what `save` wrote, ready to judge."""
        model = cls(**json.loads((folder / "config.json").read_text()))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        check_finite(f"the judge in '{folder}'", model)
        return model.eval()


class ShippedJudge:
    """The classifiers that ship with a model, one per axis.

    Args:
        digest: the model's catalog name.
        folder: the classifier's folder, or with several axes, a folder with one per axis.
        axes: the axes and their classes.
    """

    error_rates = None

    def __init__(self, digest: str, folder: Path, axes: Axes) -> None:
        self.digest, self.folder, self.axes = digest, folder, axes

    @cached_property
    def classifiers(self) -> list[Classifier]:
        """One classifier per axis."""
        return [Classifier.load(self.folder if len(self.axes) == 1 else self.folder / name) for name in self.axes]

    def fit(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Do nothing: the classifiers are ready."""
        return iter(())

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, classes) and features (n, k, float64) of uint8 images (n, c, h, w), on the CPU."""
        parts = [classifier.judge(images) for classifier in self.classifiers]
        return torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)

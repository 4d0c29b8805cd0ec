"""p(theta | D) ~ N(mu*, diag sigma*^2): where the pretrained model's parameters are, and how far each may move."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu.errors import UserError
from vdu.models import DDPM

# A variance estimated from a few checkpoints can be zero by chance, and one such parameter would dominate the
# regularizer. Every variance is raised to at least this share of its own tensor's mean variance.
VARIANCE_FLOOR = 0.05


@dataclass
class Posterior:
    """A Gaussian over the parameters.

    Attributes:
        mean: mu*, by parameter name.
        variance: sigma*^2 > 0, by parameter name, same shapes.
    """

    mean: dict[str, Tensor]
    variance: dict[str, Tensor]

    def to(self, device: str) -> "Posterior":
        """The same Gaussian on another device."""
        return Posterior(
            {name: value.to(device) for name, value in self.mean.items()},
            {name: value.to(device) for name, value in self.variance.items()},
        )


def from_checkpoints(checkpoints: Iterable[dict[str, Tensor]]) -> Posterior:
    """Mean and unbiased variance over checkpoints of one training run (the paper's estimate), by Welford's recurrence.

    Raises:
        UserError: for fewer than two checkpoints, or if they are all the same.
    """
    count, mean, squares = 0, {}, {}
    for checkpoint in checkpoints:
        count += 1
        for name, value in checkpoint.items():
            value = value.double()
            if name not in mean:
                mean[name], squares[name] = torch.zeros_like(value), torch.zeros_like(value)
            delta = value - mean[name]
            mean[name] += delta / count
            squares[name] += delta * (value - mean[name])
    if count < 2 or not any(value.any() for value in squares.values()):
        raise UserError("A posterior needs at least two checkpoints that differ; these give no variance.")
    return Posterior(
        {name: value.float() for name, value in mean.items()},
        {name: (value / (count - 1)).float() for name, value in squares.items()},
    )


def floored(posterior: Posterior) -> Posterior:
    """The same Gaussian with every variance at least `VARIANCE_FLOOR` of its tensor's mean."""
    variance = {name: value.clamp(min=VARIANCE_FLOOR * value.mean().item()) for name, value in posterior.variance.items()}
    return Posterior(posterior.mean, variance)


def save_posterior(posterior: Posterior, folder: Path) -> None:
    """Write mean.safetensors and variance.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("mean", "variance"):
        tensors = {name: value.contiguous() for name, value in getattr(posterior, part).items()}
        save_file(tensors, folder / f"{part}.safetensors", metadata={"format": "pt"})


def load_checkpoints_posterior(model: DDPM, folder: Path | None) -> Posterior:
    """The shipped mean and variance over training checkpoints.

    Raises:
        UserError: if none was shipped with the model, or it belongs to another network.
    """
    if folder is None or not (folder / "variance.safetensors").is_file():
        raise UserError("This model comes without training checkpoints; choose --posterior isotropic.")
    posterior = Posterior(load_file(folder / "mean.safetensors"), load_file(folder / "variance.safetensors"))
    shapes = {name: value.shape for name, value in model.unet.named_parameters()}
    if shapes != {name: value.shape for name, value in posterior.mean.items()}:
        raise UserError(f"The posterior in '{folder}' belongs to another network; choose --posterior isotropic.")
    return floored(posterior)


def isotropic(model: DDPM, folder: Path | None = None) -> Posterior:
    """The control: mu* is the loaded model, and every sigma* is the same hundredth of the parameters' rms size."""
    parameters = {name: value.detach().clone() for name, value in model.unet.named_parameters()}
    squares = sum(value.square().sum().item() for value in parameters.values())
    rms = (squares / sum(value.numel() for value in parameters.values())) ** 0.5
    return Posterior(parameters, {name: torch.full_like(value, (0.01 * rms) ** 2) for name, value in parameters.items()})


POSTERIORS: dict[str, tuple[Callable[[DDPM, Path | None], Posterior], str]] = {
    "checkpoints": (load_checkpoints_posterior, "mean and variance over training checkpoints, as in the paper"),
    "isotropic": (isotropic, "one variance for all parameters: plain L2 around the pretrained weights, the control"),
}

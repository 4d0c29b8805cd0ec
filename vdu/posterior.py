"""p(theta | D) ~ N(mu*, diag sigma*^2): where the pretrained model's parameters are, and how far each may move.

Every estimate is a function of the model that returns a generator of progress events, whose value is the posterior. What
takes seconds is kept on disk, by what it was made from.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu.errors import UserError
from vdu.events import Progress
from vdu.measure import Clock
from vdu.models import DDPM
from vdu.sampling import from_uint8, image_seeds, sample

# A variance estimated from a few checkpoints can be zero by chance, and one such parameter would dominate the
# regularizer. Every variance is raised to at least this share of its own tensor's mean variance.
VARIANCE_FLOOR = 0.05
SPREAD = 0.01  # root of the mean variance over the parameters' rms size, where the estimate gives no scale
DAMPING = 0.1  # share of the mean Fisher information that is added to each
SWAG_RATE = 0.002
ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_SAMPLER_STEPS = 77, 250, 15
ESTIMATE_BATCHES, ESTIMATE_BATCH = 128, 32
SETTINGS = (VARIANCE_FLOOR, SPREAD, DAMPING, SWAG_RATE, ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_SAMPLER_STEPS,
            ESTIMATE_BATCHES, ESTIMATE_BATCH)  # fmt: skip


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


Estimating = Generator[Progress, None, Posterior]


class Welford:
    """Mean and unbiased variance of a stream of parameters, by Welford's recurrence."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}

    def add(self, parameters: dict[str, Tensor]) -> None:
        """Take in one more point."""
        self.count += 1
        for name, value in parameters.items():
            value = value.double()
            if name not in self.mean:
                self.mean[name], self.squares[name] = torch.zeros_like(value), torch.zeros_like(value)
            delta = value - self.mean[name]
            self.mean[name] += delta / self.count
            self.squares[name] += delta * (value - self.mean[name])

    def posterior(self) -> Posterior:
        """The Gaussian with these moments.

        Raises:
            UserError: for fewer than two points, or if they are all the same.
        """
        if self.count < 2 or not any(value.any() for value in self.squares.values()):
            raise UserError("A posterior needs at least two checkpoints that differ; these give no variance.")
        return Posterior(
            {name: value.float() for name, value in self.mean.items()},
            {name: (value / (self.count - 1)).float() for name, value in self.squares.items()},
        )


def from_checkpoints(checkpoints: Iterable[dict[str, Tensor]]) -> Posterior:
    """Mean and unbiased variance over checkpoints of one training run (the paper's estimate).

    Raises:
        UserError: for fewer than two checkpoints, or if they are all the same.
    """
    moments = Welford()
    for checkpoint in checkpoints:
        moments.add(checkpoint)
    return moments.posterior()


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


def checkpoints(model: DDPM) -> Estimating:
    """The mean and variance over training checkpoints that lie beside the model.

    Raises:
        UserError: at once, if there are none, or they belong to another network.
    """
    folder = model.folder / "posterior" if model.folder else None
    if folder is None or not (folder / "variance.safetensors").is_file():
        raise UserError("This model comes without training checkpoints; choose --posterior fisher.")
    posterior = Posterior(load_file(folder / "mean.safetensors"), load_file(folder / "variance.safetensors"))
    if shapes(here(model)) != shapes(posterior.mean):
        raise UserError(f"The posterior in '{folder}' belongs to another network; choose --posterior fisher.")
    return at_once(floored(posterior))


def isotropic(model: DDPM) -> Estimating:
    """The control: mu* is the loaded model, and every sigma* is `SPREAD` times the parameters' rms size."""
    mean = here(model)
    return at_once(scaled(Posterior(mean, {name: torch.ones_like(value) for name, value in mean.items()})))


def fisher(model: DDPM) -> Estimating:
    """sigma*^2 = 1 / (F + damping), with the diagonal Fisher information F of images that the model draws itself: no data.

    The model is read as p(epsilon | x_t) = N(epsilon_theta(x_t, t), I), so F_i is the mean square of the gradient of
    u . epsilon_theta(x_t, t) in theta_i with u ~ N(0, I). The u of a batch are independent, so the square of a whole batch's
    gradient has the right mean too, and no gradient of a single image is needed.
    """
    return remembered("fisher", model, _fisher(model))


def _fisher(model: DDPM) -> Estimating:
    images, squares, clock = (yield from own_images(model)), {}, Clock("posterior", ESTIMATE_BATCHES)
    for done, (states, t, _) in enumerate(noised_batches(model, images), start=1):
        predicted = model.predict_noise(states, t)
        direction = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(done)).to(model.device)
        parameters = list(model.unet.parameters())
        gradients = torch.autograd.grad((direction * predicted).sum(), parameters, allow_unused=True)
        for (name, parameter), gradient in zip(model.unet.named_parameters(), gradients, strict=True):
            square = torch.zeros_like(parameter) if gradient is None else gradient.square()
            squares[name] = squares.get(name, 0) + square / (ESTIMATE_BATCHES * len(t))
        yield clock.progress(done)
    damping = DAMPING * mean_of(squares)
    variance = {name: 1 / (value + damping) for name, value in squares.items()}
    return scaled(Posterior(here(model), variance))


def swag(model: DDPM) -> Estimating:
    """Variance over a short run of SGD at a constant rate on images that the model draws itself (Maddox et al. 2019).

    mu* stays the loaded model. So short a run has not come to rest: a parameter's variance then says how much the gradient
    there varies, not how flat the loss is.
    """
    return remembered("swag", model, _swag(model))


def _swag(model: DDPM) -> Estimating:
    images, walker, clock = (yield from own_images(model)), model.clone(), Clock("posterior", ESTIMATE_BATCHES)
    optimizer = torch.optim.SGD(walker.unet.parameters(), SWAG_RATE, momentum=0.9)
    moments = Welford()
    for done, (states, t, noise) in enumerate(noised_batches(model, images), start=1):
        optimizer.zero_grad()
        (walker.predict_noise(states, t) - noise).square().mean().backward()
        optimizer.step()
        if done > ESTIMATE_BATCHES // 4:
            moments.add(here(walker))
        yield clock.progress(done)
    return floored(scaled(Posterior(here(model), moments.posterior().variance)))


def at_once(posterior: Posterior) -> Estimating:
    """An estimate that takes no time."""
    return posterior
    yield  # a generator all the same


def here(model: DDPM) -> dict[str, Tensor]:
    """A copy of a model's parameters, by name."""
    return {name: value.detach().clone() for name, value in model.unet.named_parameters()}


def mean_of(parts: dict[str, Tensor]) -> float:
    """The mean over all parameters."""
    return sum(value.sum().item() for value in parts.values()) / sum(value.numel() for value in parts.values())


def scaled(posterior: Posterior) -> Posterior:
    """The same Gaussian, widened or narrowed until the mean of sigma*^2 is the square of `SPREAD` times the mean's rms size.

    How many images the model has seen, and so how narrow the posterior is, is not to be known from the model; gamma is
    weighed against this width.
    """
    wanted = SPREAD**2 * mean_of({name: value.square() for name, value in posterior.mean.items()})
    factor = wanted / mean_of(posterior.variance)
    return Posterior(posterior.mean, {name: value * factor for name, value in posterior.variance.items()})


def own_images(model: DDPM) -> Generator[Progress, None, Tensor]:
    """What the model draws, (n, c, h, w) in [-1, 1]."""
    clock = Clock("posterior", ESTIMATE_IMAGES * ESTIMATE_SAMPLER_STEPS)
    stream = sample(model, image_seeds(ESTIMATE_SEED, ESTIMATE_IMAGES), ESTIMATE_SAMPLER_STEPS, "sde")
    while True:
        try:
            yield clock.progress(next(stream))
        except StopIteration as stop:
            return from_uint8(stop.value).to(model.device)


def noised_batches(model: DDPM, images: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """`ESTIMATE_BATCHES` batches of noisy states, their timesteps, uniform over all, and the noise in them."""
    random = torch.Generator().manual_seed(ESTIMATE_SEED)
    for _ in range(ESTIMATE_BATCHES):
        rows = torch.randint(len(images), (ESTIMATE_BATCH,), generator=random)
        t = torch.randint(len(model.alpha_bar), (ESTIMATE_BATCH,), generator=random).to(model.device)
        noise = torch.randn((ESTIMATE_BATCH, *model.shape), generator=random).to(model.device)
        alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
        yield alpha_bar.sqrt() * images[rows.to(model.device)] + (1 - alpha_bar).sqrt() * noise, t, noise


def cache_folder() -> Path:
    """Where estimates are kept: VDU_CACHE, or a folder of ours in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("VDU_CACHE") or f"{home}/vdu-studio").expanduser()


def remembered(name: str, model: DDPM, estimating: Estimating) -> Estimating:
    """An estimate of a model's sigma*^2, kept on disk by name, weights and settings; made anew if it cannot be read back."""
    key = hashlib.sha256(repr((name, model.digest, SETTINGS)).encode()).hexdigest()[:24]
    path = cache_folder() / f"{name}-{key}.safetensors"
    mean = here(model)
    try:
        variance = {key: value.to(model.device) for key, value in load_file(path).items()}
        if shapes(variance) == shapes(mean) and all(
            (value > 0).all() and value.isfinite().all() for value in variance.values()
        ):
            return Posterior(mean, variance)
    except (OSError, SafetensorError):
        pass
    posterior = yield from estimating
    with suppress(OSError):  # nowhere to write: it is estimated again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            save_file({key: value.contiguous().cpu() for key, value in posterior.variance.items()}, Path(scratch) / path.name)
            (Path(scratch) / path.name).replace(path)
    return posterior


def shapes(parts: dict[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each part."""
    return {name: value.shape for name, value in parts.items()}


POSTERIORS: dict[str, tuple[Callable[[DDPM], Estimating], str]] = {
    "checkpoints": (checkpoints, "mean and variance over training checkpoints, as in the paper"),
    "fisher": (fisher, "inverse of the diagonal Fisher information on the model's own samples; needs no data"),
    "swag": (swag, "variance of a short run of SGD on the model's own samples"),
    "isotropic": (isotropic, "one variance for all parameters: plain L2, the control"),
}

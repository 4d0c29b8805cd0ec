"""p(theta | D) ~ N(mu*, diag sigma*^2): where the pretrained model's parameters are, and how far each may move.

Every estimate is a function of the model that returns a generator of progress events, whose value is the posterior. What
takes seconds is kept on disk, by what it was made from.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu.errors import UserError
from vdu.events import Clock, Progress
from vdu.losses import Posterior
from vdu.models import Condition, Model
from vdu.sampling import HowToSample, image_seeds, sample

# A variance estimated from a few checkpoints can be zero by chance, and one such parameter would dominate the
# regularizer. Every variance is raised to at least this share of its own tensor's mean variance.
VARIANCE_FLOOR = 0.05
SPREAD = 0.01  # root of the mean variance over the parameters' rms size, where the estimate gives no scale
DAMPING = 0.1  # share of the mean Fisher information that is added to each
SWAG_RATE = 0.002
ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_HOW = 77, 250, HowToSample(15, "sde", 3.0)
ESTIMATE_BATCHES, ESTIMATE_BATCH = 128, 32
LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH = 48, 16, 8
LAYER_FLOOR = 1e-3  # share of the median tensor's information that is added to each
SETTINGS = (VARIANCE_FLOOR, SPREAD, DAMPING, SWAG_RATE, ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_HOW,
            ESTIMATE_BATCHES, ESTIMATE_BATCH, LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH, LAYER_FLOOR)  # fmt: skip


Estimating = Generator[Progress, None, Posterior]
Prompts = Sequence[str | None]  # what a model's own images are drawn for; (None,) where it takes no words


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


def checkpoints(model: Model, prompts: Prompts = (None,)) -> Estimating:
    """The mean and variance over training checkpoints that lie beside the model; without a mean there the model is it.

    Raises:
        UserError: at once, if there are none, or they belong to another network.
    """
    folder = model.folder / "posterior" if model.folder else None
    if folder is None or not (folder / "variance.safetensors").is_file():
        raise UserError("This model comes without training checkpoints; choose --posterior fisher.")
    wanted = trained_parameters(model)
    mean = load_file(folder / "mean.safetensors") if (folder / "mean.safetensors").is_file() else wanted
    variance = load_file(folder / "variance.safetensors")
    posterior = Posterior(*({name: part[name].float() for name in wanted if name in part} for part in (mean, variance)))
    if not shapes(wanted) == shapes(posterior.mean) == shapes(posterior.variance):
        raise UserError(f"The posterior in '{folder}' belongs to another network; choose --posterior fisher.")
    return constant(floored(posterior))


def isotropic(model: Model, prompts: Prompts = (None,)) -> Estimating:
    """The control: mu* is the loaded model, and every sigma* is `SPREAD` times the parameters' rms size."""
    mean = trained_parameters(model)
    return constant(scaled(Posterior(mean, {name: torch.ones_like(value) for name, value in mean.items()})))


def fisher(model: Model, prompts: Prompts = (None,)) -> Estimating:
    """sigma*^2 = 1 / (F + damping), with the diagonal Fisher information F of images that the model draws itself: no data.

    The model is read as p(epsilon | x_t) = N(epsilon_theta(x_t, t), I), so F_i is the mean square of the gradient of
    u . epsilon_theta(x_t, t) in theta_i with u ~ N(0, I). The u of a batch are independent, so the square of a whole batch's
    gradient has the right mean too, and no gradient of a single image is needed.
    """
    return remembered("fisher", model, prompts, _fisher(model, prompts))


def _fisher(model: Model, prompts: Prompts) -> Estimating:
    squares = yield from information(model, prompts)
    damping = DAMPING * mean_of(squares)
    return scaled(Posterior(trained_parameters(model), {name: 1 / (value + damping) for name, value in squares.items()}))


def layers(model: Model, prompts: Prompts = (None,)) -> Estimating:
    """One sigma*^2 a tensor, the inverse of its mean Fisher information: `fisher`, without what chance puts into each weight.

    Between tensors the information differs by factors of a million, and that is known well from few images. Within a tensor
    it differs little, and is not.
    """
    return remembered("layers", model, prompts, _layers(model, prompts))


def _layers(model: Model, prompts: Prompts) -> Estimating:
    squares = yield from information(model, prompts, LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH)
    means = {name: value.mean() for name, value in squares.items()}
    floor = LAYER_FLOOR * torch.stack([*means.values()]).median()  # some move nothing at all, such as the bias of a key
    return scaled(
        Posterior(
            trained_parameters(model),
            {name: torch.ones_like(value) / (means[name] + floor) for name, value in squares.items()},
        )
    )


def information(
    model: Model, prompts: Prompts, count: int = ESTIMATE_IMAGES, steps: int = ESTIMATE_BATCHES, size: int = ESTIMATE_BATCH
) -> Generator[Progress, None, dict[str, Tensor]]:
    """The diagonal Fisher information of an image, from `steps` batches of `size` out of `count` that the model draws."""
    images, squares, clock = (yield from own_images(model, prompts, count)), {}, Clock("posterior", steps)
    for done, (states, t, condition, _) in enumerate(noised_batches(model, images, prompts, steps, size), start=1):
        predicted = model.predict_noise(states, t, condition)
        direction = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(done)).to(model.device)
        parameters = model.trained
        gradients = torch.autograd.grad((direction * predicted).sum(), [*parameters.values()], allow_unused=True)
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            square = torch.zeros_like(parameter) if gradient is None else gradient.square()
            squares[name] = squares.get(name, 0) + square / (steps * len(t))
        yield clock.progress(done)
    return squares


def swag(model: Model, prompts: Prompts = (None,)) -> Estimating:
    """Variance over a short run of SGD at a constant rate on images that the model draws itself (Maddox et al. 2019).

    mu* stays the loaded model. So short a run has not come to rest: a parameter's variance then says how much the gradient
    there varies, not how flat the loss is.
    """
    return remembered("swag", model, prompts, _swag(model, prompts))


def _swag(model: Model, prompts: Prompts) -> Estimating:
    images, walker, clock = (yield from own_images(model, prompts)), model.clone(), Clock("posterior", ESTIMATE_BATCHES)
    optimizer = torch.optim.SGD(walker.trained.values(), SWAG_RATE, momentum=0.9)
    moments = Welford()
    for done, (states, t, condition, noise) in enumerate(noised_batches(model, images, prompts), start=1):
        optimizer.zero_grad()
        (walker.predict_noise(states, t, condition) - noise).square().mean().backward()
        optimizer.step()
        if done > ESTIMATE_BATCHES // 4:
            moments.add(trained_parameters(walker))
        yield clock.progress(done)
    return floored(scaled(Posterior(trained_parameters(model), moments.posterior().variance)))


def constant(posterior: Posterior) -> Estimating:
    """An estimate that takes no time."""
    yield from ()  # a generator all the same
    return posterior


def trained_parameters(model: Model) -> dict[str, Tensor]:
    """A copy of the parameters of a model that are trained, by name."""
    return {name: value.detach().clone() for name, value in model.trained.items()}


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


def cycle_prompts(prompts: Prompts, count: int) -> list[str | None]:
    """The prompt of each of the model's own images."""
    return [prompts[number % len(prompts)] for number in range(count)]


def own_images(model: Model, prompts: Prompts, count: int = ESTIMATE_IMAGES) -> Generator[Progress, None, Tensor]:
    """States of what the model draws when asked for the prompts in turn, (n, c, h, w)."""
    stream = sample(model, image_seeds(ESTIMATE_SEED, count), ESTIMATE_HOW, cycle_prompts(prompts, count))
    images = yield from Clock("posterior", count * ESTIMATE_HOW.steps).follow(stream)
    return model.encode(images)


def noised_batches(
    model: Model, clean: Tensor, prompts: Prompts, steps: int = ESTIMATE_BATCHES, size: int = ESTIMATE_BATCH
) -> Iterator[tuple[Tensor, Tensor, Condition, Tensor]]:
    """`steps` batches of `size` noisy states, their timesteps, uniform over all, conditions, and the noise in them."""
    random, asked = torch.Generator().manual_seed(ESTIMATE_SEED), cycle_prompts(prompts, len(clean))
    for _ in range(steps):
        rows = torch.randint(len(clean), (size,), generator=random)
        t = torch.randint(len(model.alpha_bar), (size,), generator=random).to(model.device)
        noise = torch.randn((size, *model.shape), generator=random).to(model.device)
        alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
        states = alpha_bar.sqrt() * clean[rows.to(model.device)] + (1 - alpha_bar).sqrt() * noise
        yield states, t, model.conditions([asked[row] for row in rows.tolist()]), noise


def cache_folder() -> Path:
    """Where estimates are kept: VDU_CACHE, or a folder of ours in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("VDU_CACHE") or f"{home}/vdu-studio").expanduser()


def remembered(name: str, model: Model, prompts: Prompts, estimating: Estimating) -> Estimating:
    """An estimate of a model's sigma*^2, kept on disk by what it is made from; made anew if it cannot be read back."""
    mean = trained_parameters(model)
    key = hashlib.sha256(repr((name, model.digest, sorted(mean), tuple(prompts), SETTINGS)).encode()).hexdigest()[:24]
    path = cache_folder() / f"{name}-{key}.safetensors"
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


POSTERIORS: dict[str, tuple[Callable[[Model, Prompts], Estimating], str]] = {
    "checkpoints": (checkpoints, "mean and variance over training checkpoints, as in the paper"),
    "fisher": (fisher, "inverse of the diagonal Fisher information on the model's own samples; needs no data"),
    "layers": (layers, "one variance a tensor, the inverse of its mean Fisher information; quick, needs no data"),
    "swag": (swag, "variance of a short run of SGD on the model's own samples"),
    "isotropic": (isotropic, "one variance for all parameters: plain L2, the control"),
}

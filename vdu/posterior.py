"""p(theta | D) ~ N(mu*, diag sigma*^2): where the pretrained model's parameters are, and how far each may move.

Every estimate is a function of the model and its prompts. It returns a generator that yields progress events and returns the
posterior. Estimates that take seconds are cached on disk, by everything they depend on.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdu import kronecker as kronecker_factors
from vdu.errors import UserError
from vdu.estimate_cache import Estimation, Prompts, cached, shapes, trained_parameters
from vdu.events import Clock, Progress
from vdu.losses import Posterior, noised
from vdu.models import Condition, Model
from vdu.processes import own, total
from vdu.sampling import HowToSample, Role, image_seeds, sample

# A variance estimated from a few checkpoints can be zero by chance, and one such parameter would dominate the
# regularizer. Every variance is raised to at least this share of its own tensor's mean variance.
VARIANCE_FLOOR = 0.05
SPREAD = 0.01  # square root of the mean variance, over the parameters' rms, where an estimate gives no scale
DAMPING = 0.1  # of the mean Fisher information, added to every parameter's
SWAG_RATE = 0.002
ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_HOW = 77, 250, HowToSample(15, "sde", 3.0)
ESTIMATE_BATCHES, ESTIMATE_BATCH = 128, 32
LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH = 48, 16, 8
KRONECKER_IMAGES, KRONECKER_BATCHES, KRONECKER_BATCH = 64, 20, 16
LAYER_FLOOR = 1e-3  # of the median tensor's Fisher information, added to every tensor's
SETTINGS = (VARIANCE_FLOOR, SPREAD, DAMPING, SWAG_RATE, ESTIMATE_SEED, ESTIMATE_IMAGES, ESTIMATE_HOW,
            ESTIMATE_BATCHES, ESTIMATE_BATCH, LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH, LAYER_FLOOR)  # fmt: skip


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
            UserError: for fewer than two points, or if all are the same.
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
        UserError: for fewer than two checkpoints, or if all are the same.
    """
    moments = Welford()
    for checkpoint in checkpoints:
        moments.add(checkpoint)
    return moments.posterior()


def with_floor(posterior: Posterior) -> Posterior:
    """The same Gaussian with every variance at least `VARIANCE_FLOOR` times its tensor's mean variance."""
    variance = {name: value.clamp(min=VARIANCE_FLOOR * value.mean().item()) for name, value in posterior.variance.items()}
    return Posterior(posterior.mean, variance)


def save_variance(posterior: Posterior, folder: Path) -> None:
    """Write variance.safetensors in bfloat16, for a model whose weights are the mean (or take its place)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.bfloat16().contiguous() for name, value in posterior.variance.items()}
    save_file(tensors, folder / "variance.safetensors", metadata={"format": "pt"})


def packed(variance: dict[str, Tensor]) -> dict[str, Tensor]:
    """Variances as uint8: four times their logarithm to base 2, from 2^-63.75 to 1; a value moves by at most 9 %."""
    codes = {name: 255 + (4 * value.float().clamp(min=2.0**-63.75).log2()).round() for name, value in variance.items()}
    return {name: code.clamp(0, 255).to(torch.uint8).contiguous() for name, code in codes.items()}


def unpacked(variance: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `packed`; tensors of another type are returned as they are."""
    return {
        name: 2 ** ((value.float() - 255) / 4) if value.dtype == torch.uint8 else value for name, value in variance.items()
    }


def checkpoints(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """Mean and variance over training checkpoints, read from the model's `posterior/`; without a mean, the model is the mean.

    Raises:
        UserError: when called, if there is no such folder, or it lacks some of the parameters that are to be trained.
    """
    folder = model.folder / "posterior" if model.folder else None
    if folder is None or not (folder / "variance.safetensors").is_file():
        raise UserError("This model comes without training checkpoints; choose the posterior fisher.")
    wanted = trained_parameters(model)
    mean = load_file(folder / "mean.safetensors") if (folder / "mean.safetensors").is_file() else wanted
    variance = unpacked(load_file(folder / "variance.safetensors"))
    posterior = Posterior(
        *({name: part[name].float().clone() for name in wanted if name in part} for part in (mean, variance))
    )
    if not shapes(wanted) == shapes(posterior.mean) == shapes(posterior.variance):
        raise UserError(f"The posterior in '{folder}' is not one of all parameters to train; choose the posterior fisher.")
    return constant(with_floor(posterior))


def isotropic(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """The control: mu* is the loaded model, and every sigma* is `SPREAD` times the parameters' rms."""
    mean = trained_parameters(model)
    return constant(scale_to_spread(Posterior(mean, {name: torch.ones_like(value) for name, value in mean.items()})))


def fisher(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """sigma*^2 = 1 / (F + damping), with the diagonal Fisher information F on the model's own samples; needs no data.

    The model is read as p(epsilon | x_t) = N(epsilon_theta(x_t, t), I), so F_i is the mean square of the gradient of
    u . epsilon_theta(x_t, t) in theta_i with u ~ N(0, I). The u of a batch are independent, so the square of a whole batch's
    gradient has the right mean too, and no gradient of a single image is needed.
    """
    return cached("fisher", model, prompts, SETTINGS, _fisher(model, prompts))


def _fisher(model: Model, prompts: Prompts) -> Estimation:
    return from_information(trained_parameters(model), (yield from information(model, prompts)))


def from_information(mean: dict[str, Tensor], squares: dict[str, Tensor]) -> Posterior:
    """sigma*^2 = 1 / (F + damping) from a diagonal Fisher information F; the damping is `DAMPING` times its mean."""
    damping = DAMPING * mean_of(squares)
    return scale_to_spread(Posterior(mean, {name: 1 / (value + damping) for name, value in squares.items()}))


def layers(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """One sigma*^2 per tensor, the inverse of its mean Fisher information: `fisher` without the noise of single weights.

    Between tensors the information differs by factors of a million, so a few images suffice. Within a tensor it differs too
    little for that.
    """
    return cached("layers", model, prompts, SETTINGS, _layers(model, prompts))


def _layers(model: Model, prompts: Prompts) -> Estimation:
    squares = yield from information(model, prompts, LAYER_IMAGES, LAYER_BATCHES, LAYER_BATCH)
    means = {name: value.mean() for name, value in squares.items()}
    floor = LAYER_FLOOR * torch.stack([*means.values()]).median()  # some tensors have none at all, such as the bias of a key
    return scale_to_spread(
        Posterior(
            trained_parameters(model),
            {name: torch.ones_like(value) / (means[name] + floor) for name, value in squares.items()},
        )
    )


def information(
    model: Model, prompts: Prompts, count: int = ESTIMATE_IMAGES, steps: int = ESTIMATE_BATCHES, size: int = ESTIMATE_BATCH
) -> Generator[Progress, None, dict[str, Tensor]]:
    """Diagonal Fisher information per image, by parameter name, from `steps` batches of `size` out of `count` own samples.

    Processes that share their work take some of the batches each; their sums are rounded in another order.
    """
    images, clock = (yield from own_images(model, prompts, count)), Clock("posterior", steps)
    squares, own_steps = {name: torch.zeros_like(value) for name, value in model.trained.items()}, len([*own(range(steps))])
    batches = own(enumerate(noised_batches(model, images, prompts, steps, size), start=1))
    for done, (number, (states, t, condition, _)) in enumerate(batches, start=1):
        predicted = model.predict_noise(states, t, condition)
        direction = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(number)).to(model.device)
        parameters = model.trained
        gradients = torch.autograd.grad((direction * predicted).sum(), [*parameters.values()], allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                squares[name] += gradient.square() / (steps * len(t))
        yield clock.progress(done * steps // own_steps)
    return total(squares)


def kronecker(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """The Fisher information of `fisher` as a Kronecker product per layer, see `kronecker.Kronecker`; needs no data.

    It takes seconds, and is not cached.
    """
    images = yield from own_images(model, prompts, KRONECKER_IMAGES)
    batches = noised_batches(model, images, prompts, KRONECKER_BATCHES, KRONECKER_BATCH)
    posterior = yield from kronecker_factors.estimate(model, batches, KRONECKER_BATCHES)
    return posterior.widened(spread_factor(posterior))


def swag(model: Model, prompts: Prompts = (None,)) -> Estimation:
    """Variance over a short run of SGD at a constant rate on the model's own samples (SWAG-diagonal, Maddox et al. 2019).

    mu* stays the loaded model. A run this short has not converged, so a parameter's variance says how much its gradient
    varies rather than how flat the loss is. Each step needs the one before, so processes that share their work all take all.
    """
    return cached("swag", model, prompts, SETTINGS, _swag(model, prompts))


def _swag(model: Model, prompts: Prompts) -> Estimation:
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
    return with_floor(scale_to_spread(Posterior(trained_parameters(model), moments.posterior().variance)))


def constant(posterior: Posterior) -> Estimation:
    """An estimate that takes no time."""
    yield from ()  # makes this a generator
    return posterior


def mean_of(parts: dict[str, Tensor]) -> float:
    """The mean over all parameters."""
    return sum(value.sum().item() for value in parts.values()) / sum(value.numel() for value in parts.values())


def scale_to_spread(posterior: Posterior) -> Posterior:
    """The same Gaussian, widened or narrowed until the mean of sigma*^2 is (`SPREAD` times the rms of mu*)^2.

    The true width depends on the number of training images, which the model does not reveal. The defaults of gamma assume
    this width.
    """
    factor = spread_factor(posterior)
    return Posterior(posterior.mean, {name: value * factor for name, value in posterior.variance.items()})


def spread_factor(posterior: Posterior) -> float:
    """What to multiply the variances with for the width of `scale_to_spread`."""
    wanted = SPREAD**2 * mean_of({name: value.square() for name, value in posterior.mean.items()})
    return wanted / mean_of(posterior.variance)


def cycle_prompts(prompts: Prompts, count: int) -> list[str | None]:
    """`count` prompts, taken in turn."""
    return [prompts[number % len(prompts)] for number in range(count)]


def own_images(model: Model, prompts: Prompts, count: int = ESTIMATE_IMAGES) -> Generator[Progress, None, Tensor]:
    """States (count, c, h, w) of images that the model draws for the prompts, taken in turn."""
    stream = sample(model, image_seeds(None, count, Role.ESTIMATE), ESTIMATE_HOW, cycle_prompts(prompts, count))
    images = yield from Clock("posterior", count * ESTIMATE_HOW.steps).follow(stream)
    return model.encode(images)


def noised_batches(
    model: Model, clean: Tensor, prompts: Prompts, steps: int = ESTIMATE_BATCHES, size: int = ESTIMATE_BATCH
) -> Iterator[tuple[Tensor, Tensor, Condition, Tensor]]:
    """`steps` batches of (noisy states, timesteps drawn uniformly, conditions, the noise in the states), `size` rows each."""
    random, asked = torch.Generator().manual_seed(ESTIMATE_SEED), cycle_prompts(prompts, len(clean))
    for _ in range(steps):
        rows = torch.randint(len(clean), (size,), generator=random)
        t = torch.randint(len(model.alpha_bar), (size,), generator=random).to(model.device)
        noise = torch.randn((size, *model.shape), generator=random).to(model.device)
        states = noised(clean[rows.to(model.device)], noise, model.alpha_bar[t])
        yield states, t, model.conditions([asked[row] for row in rows.tolist()]), noise


POSTERIORS: dict[str, tuple[Callable[[Model, Prompts], Estimation], str]] = {
    "checkpoints": (checkpoints, "mean and variance over training checkpoints, as in the paper"),
    "fisher": (fisher, "inverse diagonal Fisher information on the model's own samples; needs no data"),
    "layers": (layers, "one variance per tensor, the inverse of its mean Fisher information; quick, needs no data"),
    "kronecker": (kronecker, "Fisher information as a Kronecker product per layer; takes seconds, needs no data"),
    "swag": (swag, "variance over a short SGD run on the model's own samples; needs no data"),
    "isotropic": (isotropic, "one variance for all parameters (plain L2), as a control"),
}
CACHED = ("fisher", "layers", "swag")  # what is cached on disk; all others take seconds at most

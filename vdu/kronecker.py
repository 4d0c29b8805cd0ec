"""A Gaussian posterior whose precision is a Kronecker product per layer (K-FAC; Martens & Grosse 2015, Ritter et al. 2018).

For a layer with weights W (outputs, inputs, taps), inputs a and gradients g of its outputs, the Fisher information of W is
taken as E[g g^T] x E[a a^T], the same for all taps of a convolution, whose neighbouring pixels are nearly equal. Mlodozeniec
et al. (2025, arXiv 2410.13850) use K-FAC of diffusion models for influence functions, which is the same step with another
purpose. All other parameters, such as biases and the weights of norms, have a diagonal precision.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from vdu.events import Clock, Progress
from vdu.losses import Posterior
from vdu.models import Condition, Model

DAMPING = 0.1  # of the median layer's mean Fisher information, added to every parameter's


class Layer(NamedTuple):
    """The eigenvalues and eigenvectors (columns) of a layer's two factors: E[g g^T] of outputs, E[a a^T] of inputs."""

    outputs: Tensor
    output_vectors: Tensor
    inputs: Tensor
    input_vectors: Tensor


@dataclass
class Kronecker(Posterior):
    """A Gaussian over the parameters, with dependent weights in each layer.

    Attributes:
        mean: mu*, by parameter name.
        variance: marginal variance of each parameter, by name.
        layers: name of a weight -> its factors.
        damping: added to the Fisher information.
        width: factor on the covariance.
    """

    layers: dict[str, Layer] = field(default_factory=dict)
    damping: float = 0.0
    width: float = 1.0

    def to(self, device: str) -> Self:
        """The same Gaussian on another device."""
        layers = {name: Layer(*(part.to(device) for part in layer)) for name, layer in self.layers.items()}
        plain = super().to(device)
        return replace(self, mean=plain.mean, variance=plain.variance, layers=layers)

    def widened(self, factor: float) -> Self:
        """The same Gaussian with its covariance times a factor."""
        variance = {name: value * factor for name, value in self.variance.items()}
        return replace(self, variance=variance, width=self.width * factor)

    def times_covariance(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Posterior.times_covariance`."""
        return {name: self._times(name, value, -1) for name, value in values.items()}

    def times_precision(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Posterior.times_precision`."""
        return {name: self._times(name, value, 1) for name, value in values.items()}

    def _times(self, name: str, value: Tensor, power: int) -> Tensor:
        """The precision (power 1) or its inverse (power -1) of a parameter times a value."""
        if name not in self.layers:
            return value * self.variance[name] ** -power
        layer = self.layers[name]
        factors = (precision(layer, self.damping) / self.width) ** power
        mixed = torch.einsum("po,pit,ij->ojt", layer.output_vectors, value.reshape(*value.shape[:2], -1), layer.input_vectors)
        mixed = mixed * factors[:, :, None]
        return torch.einsum("op,pjt,ij->oit", layer.output_vectors, mixed, layer.input_vectors).reshape(value.shape)


def precision(layer: Layer, damping: float) -> Tensor:
    """The eigenvalues of a layer's precision, (outputs, inputs): products of the factors' eigenvalues, plus the damping."""
    return layer.outputs[:, None] * layer.inputs[None] + damping


def marginal_variance(layer: Layer, damping: float, like: Tensor) -> Tensor:
    """The diagonal of a layer's covariance, in the shape of its weight."""
    squares = layer.output_vectors.square() @ (1 / precision(layer, damping)) @ layer.input_vectors.square().T
    return squares.reshape(*squares.shape, *[1] * (like.dim() - 2)).expand_as(like).contiguous()


def estimate(
    model: Model, batches: Iterable[tuple[Tensor, Tensor, Condition, Tensor]], steps: int
) -> Generator[Progress, None, Kronecker]:
    """The Kronecker-factored Fisher information of p(epsilon | x_t) = N(epsilon_theta(x_t, t), I), damped.

    Args:
        model: the model, at mu*.
        batches: noisy states, timesteps, conditions and noise (not used); see `posterior.noised_batches`.
        steps: the number of batches.
    """
    weights = factored_weights(model)
    others = {name: value for name, value in model.trained.items() if name not in weights}
    outputs, inputs, diagonal, count = {}, {}, {name: torch.zeros_like(value) for name, value in others.items()}, 0
    clock = Clock("posterior", steps)
    for done, (states, t, condition, _) in enumerate(batches, start=1):
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        hooks = [module.register_forward_hook(remember(seen, name)) for name, module in weights.items()]
        try:
            predicted = model.predict_noise(states, t, condition)
        finally:
            for hook in hooks:
                hook.remove()
        direction = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(done)).to(model.device)
        names, places = [*seen], [output for _, output in seen.values()]
        gradients = torch.autograd.grad((direction * predicted).sum(), [*others.values(), *places], allow_unused=True)
        for name, gradient in zip(others, gradients, strict=False):
            if gradient is not None:
                diagonal[name] += gradient.square()
        for name, gradient in zip(names, gradients[len(others) :], strict=True):
            if gradient is not None:
                seen_input, seen_gradient = rows_of(seen[name][0]), rows_of(gradient)
                places_per_image = len(seen_input) / len(states)
                outputs[name] = outputs.get(name, 0) + seen_gradient.T @ seen_gradient
                inputs[name] = inputs.get(name, 0) + seen_input.T @ seen_input / places_per_image
        count += len(states)
        yield clock.progress(done)
    return assemble(model, {name: (outputs[name] / count, inputs[name] / count) for name in outputs}, diagonal, count)


def assemble(
    model: Model, factors: Mapping[str, tuple[Tensor, Tensor]], diagonal: Mapping[str, Tensor], count: int
) -> Kronecker:
    """The posterior of a model, from the factors of its layers and the Fisher information of all other parameters."""
    mean = {name: value.detach().clone() for name, value in model.trained.items()}
    layers, levels = {}, []
    for name, (output, entry) in factors.items():
        (high, high_vectors), (low, low_vectors) = torch.linalg.eigh(output), torch.linalg.eigh(entry)
        layers[name] = Layer(high.clamp(min=0), high_vectors, low.clamp(min=0), low_vectors)
        levels.append(output.diagonal().mean() * entry.diagonal().mean())
    levels = levels or [torch.cat([value.flatten() for value in diagonal.values()]).mean() / count]
    damping = max(DAMPING * torch.stack(levels).median().item(), torch.finfo(torch.float32).tiny)
    variance = {
        name: marginal_variance(layers[name], damping, value)
        if name in layers
        else 1 / (diagonal.get(name, torch.zeros_like(value)) / count + damping)
        for name, value in mean.items()
    }
    return Kronecker(mean, variance, layers, damping)


def factored_weights(model: Model) -> dict[str, nn.Module]:
    """Name of a trained weight -> its layer, for all linear layers and convolutions without groups."""
    modules = dict(model.unet.named_modules())
    return {
        name: modules[name.removesuffix(".weight")]
        for name in model.trained
        if name.endswith(".weight") and is_factored(modules[name.removesuffix(".weight")])
    }


def is_factored(module: nn.Module) -> bool:
    """Whether a layer's weights get a Kronecker product."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def remember(seen: dict[str, tuple[Tensor, Tensor]], name: str) -> Callable[..., None]:
    """A forward hook that keeps a layer's input and output."""

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = given[0].detach(), output

    return hook


def rows_of(values: Tensor) -> Tensor:
    """Channels as columns, float32: (n, c, h, w) -> (n h w, c), (n, …, c) -> (n …, c)."""
    values = values.float()
    return (values.movedim(1, -1) if values.dim() == 4 else values).reshape(-1, values.shape[1 if values.dim() == 4 else -1])

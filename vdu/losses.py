"""The two terms of Variational Diffusion Unlearning (2510.04058), and the function-space form of the second.

    L(theta) = -(1 - gamma) * plasticity_inducer + gamma * stability

The paper sums over forget images, timesteps, pixels and parameters. Here every term is a *mean*, so that one gamma keeps
its meaning across models and set sizes. With n forget images of d pixels, T timesteps and P parameters, the paper's
(unnormalised) gamma' is the one with  gamma' / (1 - gamma') = gamma / (1 - gamma) * (n T d) / P.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Posterior:
    """A Gaussian over the parameters, with independent parameters; `kronecker.Kronecker` has dependent ones.

    Attributes:
        mean: mu*, by parameter name.
        variance: sigma*^2 > 0, by parameter name, same shapes.
    """

    mean: dict[str, Tensor]
    variance: dict[str, Tensor]

    def times_covariance(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The covariance times values of the parameters' shapes: the natural gradient of a gradient (Amari 1998)."""
        return {name: self.variance[name] * value for name, value in values.items()}

    def times_precision(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of the covariance times values of the parameters' shapes."""
        return {name: value / self.variance[name] for name, value in values.items()}

    def to(self, device: str) -> "Posterior":
        """The same Gaussian on another device."""
        return Posterior(
            {name: value.to(device) for name, value in self.mean.items()},
            {name: value.to(device) for name, value in self.variance.items()},
        )


def per_image_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each image: (n, c, h, w) twice -> (n,)."""
    return (predicted - target).square().mean(dim=(1, 2, 3))


def plasticity_inducer(predicted: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Mean of C_t ||epsilon - epsilon_theta(x_t, t)||^2 / d over noisy forget images: a scalar >= 0 that VDU *raises*.

    Args:
        predicted: epsilon_theta(x_t, t), (n, c, h, w).
        noise: the epsilon that made x_t, same shape.
        weight: C_t of each image, (n,), with mean 1 over the timesteps drawn from.
    """
    return (weight * per_image_error(predicted, noise)).mean()


def noised_set(states: Tensor, alpha_bar: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Density and expected noise of noisy states whose x_0 is one of a finite set of images, all equally likely.

    With E[epsilon | x_t] in place of the drawn epsilon, the gradient of the plasticity inducer keeps its expectation and
    loses the variance that comes from not knowing which image x_t was made from (Rao-Blackwell).

    Args:
        states: x_t, (n, c, h, w).
        alpha_bar: alpha-bar_t of each state, (n,).
        images: the set, (m, c, h, w), in [-1, 1].

    Returns:
        log p(x_t), (n,), without a summand that is the same for every set; and E[epsilon | x_t], (n, c, h, w).
    """
    flat, signal = images.flatten(1), alpha_bar.view(-1, 1)
    # -||x_t - sqrt(alpha-bar) x_i||^2 / (2 (1 - alpha-bar)), without the summand that is the same for every image.
    squares = torch.linalg.vector_norm(flat, dim=1).square()
    closeness = (2 * signal.sqrt() * states.flatten(1) @ flat.T - signal * squares) / (2 * (1 - signal))
    clean = (torch.softmax(closeness, dim=1) @ flat).view_as(states)
    return torch.logsumexp(closeness, dim=1) - math.log(len(images)), noise_between(states, alpha_bar, clean)


def noised(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t, a draw from q(x_t | x_0): sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) epsilon (Ho et al. 2020, eq. 4).

    Args:
        clean: x_0, (n, c, h, w); noise: epsilon, same shape.
        alpha_bar: alpha-bar_t of each, (n,), or of all, a scalar.
    """
    signal = alpha_bar.view(-1, 1, 1, 1)
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def noise_between(states: Tensor, alpha_bar: Tensor, clean: Tensor) -> Tensor:
    """The epsilon with which a clean image x_0 becomes x_t: (x_t - sqrt(alpha-bar) x_0) / sqrt(1 - alpha-bar).

    Args:
        states: x_t, (n, c, h, w); alpha_bar: alpha-bar_t of each, (n,).
        clean: x_0, same shape as the states.
    """
    signal = alpha_bar.view(-1, 1, 1, 1)
    return (states - signal.sqrt() * clean) / (1 - signal).sqrt()


def bayes_shift(states: Tensor, alpha_bar: Tensor, forget: Tensor, kept: Tensor, gamma: float) -> Tensor:
    """What to add to the predicted noise in x_t to get the prediction of a model that has never seen the class to forget.

    The data are a mixture, and so is the noise: epsilon = P epsilon_f + (1 - P) epsilon_r, with P = p(forget | x_t). Solved
    for the rest of the data, epsilon_r = epsilon + P (epsilon_r - epsilon_f); the second summand is returned. The prior odds
    in P are (1 - gamma) / gamma, so gamma = 1 - (share of the class) is Bayes' rule; a smaller gamma removes more.

    Args:
        states: x_t, (n, c, h, w); alpha_bar: alpha-bar_t of each, (n,).
        forget, kept: images of the class to forget and of the others, (m, c, h, w), in [-1, 1].
        gamma: weight of stability, in [0, 1].

    Returns:
        P (epsilon_r - epsilon_f), (n, c, h, w).
    """
    (log_forget, noise_forget), (log_kept, noise_kept) = (noised_set(states, alpha_bar, part) for part in (forget, kept))
    prior = -torch.logit(torch.tensor(gamma))  # log-odds of the forget set: minus infinity for gamma = 1
    return torch.sigmoid(prior + log_forget - log_kept).view(-1, 1, 1, 1) * (noise_kept - noise_forget)


def stability_regularizer(parameters: Mapping[str, Tensor], posterior: Posterior) -> Tensor:
    """(theta - mu*)^T Sigma^-1 (theta - mu*) / 2 per parameter: 0 at the posterior mean, 1/2 at one sigma everywhere.

    With independent parameters it is the mean of (theta_i - mu*_i)^2 / (2 sigma*_i^2).
    """
    moved = {name: value - posterior.mean[name] for name, value in parameters.items()}
    total = sum((moved[name] * weighted).sum() for name, weighted in posterior.times_precision(moved).items()) / 2
    return torch.as_tensor(total) / sum(value.numel() for value in parameters.values())


def function_space_stability(predicted: Tensor, frozen: Tensor) -> Tensor:
    """Mean of ||epsilon_theta(x_t, t) - epsilon_mu*(x_t, t)||^2 / d over noised images that the frozen model drew ("VDU-F").

    To second order in theta - mu* this is the stability regularizer with the full Gauss-Newton matrix in place of
    diag(1 / sigma*^2): the same posterior, without the diagonal approximation, and with no training data.
    """
    return per_image_error(predicted, frozen).mean()


def clean_image_weights(alpha_bar: Tensor) -> Tensor:
    """Weights (n,) of squared errors in epsilon by their effect on x_0: (1 - alpha-bar) / (2 alpha-bar), clamped to 1 … 4.

    At high noise a small error in epsilon is a large one in x_0, and the shares of the classes are decided there.
    """
    return ((1 - alpha_bar) / (2 * alpha_bar)).clamp(1, 4)

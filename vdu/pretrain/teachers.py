"""Teachers: targets of a network at x_t, in place of the added noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch import Tensor

from vdu.losses import noised_set

Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t (n, c, h, w), t (n,), added noise like x_t) -> target like x_t


@dataclass(frozen=True)
class Autoguidance:
    """A teacher that is better than its model, as it is guided away from a weaker one (Karras et al. 2024), in an interval.

    epsilon = good + (strength(t) - 1) * (good - weak). The strength is 1 at high noise, where guidance would shift the
    balance of the classes, and at low noise, where guidance gains nothing (Kynkäänniemi et al. 2024).

    Attributes:
        good: the model.
        weak: an early version of the model, a smaller one that was trained briefly, or one with noise on its weights.
        strength: strength of guidance in the middle of the interval, >= 1.
        interval: the strength rises between the first two of these timesteps and falls between the last two.
    """

    good: UNet2DModel
    weak: UNet2DModel
    strength: float = 3.0
    interval: tuple[float, float, float, float] = (100, 200, 500, 700)

    @torch.no_grad()
    def __call__(self, noisy: Tensor, t: Tensor, _: Tensor) -> Tensor:
        """The guided noise at x_t (n, c, h, w), t (n,)."""
        rise, full, fall, end = self.interval
        inside = ((t - rise) / (full - rise)).clamp(0, 1) * ((end - t) / (end - fall)).clamp(0, 1)
        rows = inside > 0
        noise = self.good(noisy, t).sample.float()
        if not rows.any():
            return noise
        weak = self.weak(noisy[rows], t[rows]).sample.float()
        noise[rows] += (self.strength - 1) * inside[rows].view(-1, 1, 1, 1) * (noise[rows] - weak)
        return noise


@dataclass(frozen=True)
class ExactAtHighNoise:
    """A teacher that gives the exact answer at high noise: E[epsilon | x_t] over the whole training set.

    At high noise x_t lies between many training images, and their average is the best that a network can learn. At low noise
    x_t belongs to a single training image, and the average would make the network memorise it; another teacher takes over.

    Attributes:
        images: the training set, (m, c, h, w), in [-1, 1].
        alpha_bar: alpha-bar_t for t = 0 … T-1, (T,).
        otherwise: the teacher below timestep `start`.
        start: the first timestep with the exact answer.
    """

    images: Tensor
    alpha_bar: Tensor
    otherwise: Teacher
    start: int = 550

    @torch.no_grad()
    def __call__(self, noisy: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The target at x_t (n, c, h, w), t (n,), made with `noise`."""
        exact, answer = t >= self.start, torch.empty_like(noisy)
        answer[~exact] = self.otherwise(noisy[~exact], t[~exact], noise[~exact])
        with torch.autocast(noisy.device.type, enabled=False):  # squared distances of whole images need all digits
            answer[exact] = noised_set(noisy[exact], self.alpha_bar[t[exact]], self.images)[1]
        return answer

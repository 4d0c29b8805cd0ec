"""DiMUM (Yuan et al. 2025): memorise substitute data in place of the class, instead of ascending on it.

The paper's loss is convergent: a retain loss, plus the same loss on substitute images under the label or prompt of the class.
Adaptation: the frozen model draws substitutes and retain set. With prompts, substitutes are images that it drew for a neutral
prompt, given the caption with the word. Without prompts there is no label: the noise on a forget image becomes the epsilon
that leads to the nearest image of another class, one image and not an average.
"""

import torch
from torch import Tensor

from vdu import losses
from vdu.methods.base import Batch, Method, NoisyImages, Terms
from vdu.methods.fine_tune import retain_loss
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL


def nearest(states: Tensor, alpha_bar: Tensor, images: Tensor) -> Tensor:
    """For each x_t, the image of a set that it is most likely made from, (n, c, h, w).

    Args:
        states: x_t, (n, c, h, w); alpha_bar: alpha-bar_t of each, (n,).
        images: the set, (m, c, h, w).
    """
    flat, signal = images.flatten(1), alpha_bar.view(-1, 1)
    distances = signal * flat.square().sum(dim=1) - 2 * signal.sqrt() * states.flatten(1) @ flat.T
    return images[distances.argmin(dim=1)]


def substitutes(batch: Batch) -> tuple[NoisyImages, Tensor]:
    """What is memorised in place of forget images, and the weight of each row, (n,).

    With prompts these are the images drawn for neutral prompts, or the retain set's if the batch has none.
    """
    forget, retain = batch.forget, batch.replay
    if not batch.model.takes_prompts:
        alpha_bar = batch.frozen.alpha_bar[forget.t]
        noise = losses.noise_between(forget.states, alpha_bar, nearest(forget.states, alpha_bar, batch.kept_set))
        return NoisyImages(forget.states, forget.t, noise, forget.condition), batch.weight
    if not forget.from_neutral.any():
        return NoisyImages(retain.states, retain.t, retain.noise, forget.caption), torch.ones_like(batch.weight)
    share = forget.from_neutral.to(batch.weight.dtype).mean()
    return NoisyImages(forget.states, forget.t, forget.noise, forget.caption), batch.weight * forget.from_neutral / share


def memorise(batch: Batch, state: None = None) -> Terms:
    """(1 - gamma) times the error on substitutes, plus gamma times the error on the retain set."""
    images, weight = substitutes(batch)
    predicted = batch.model.predict_noise(images.states, images.t, images.condition)
    memorised = (weight * losses.per_image_error(predicted, images.noise)).mean()
    kept = retain_loss(batch).stability
    return Terms(memorised, kept, (1 - batch.gamma) * memorised + batch.gamma * kept)


METHOD = Method(
    title="DiMUM (2512.03564): substitutes memorised in place of the class",
    paper="2512.03564",
    loss=memorise,
    uses_retain_set=True,
    uses_own_samples=True,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.65, "reach": 1.0, "optimizer": "adam", "step_size": 3e-4, "steps": 60},
        PHOTOGRAPHS: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 1e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

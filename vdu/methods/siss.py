"""SISS (Alberti et al., "Data Unlearning in Diffusion Models", ICLR 2025): Subtracted Importance Sampled Scores.

One batch from a mixture of retained and forget images serves two terms, descent on the first and ascent on the second, each
with importance weights; the ascent is scaled to a fixed share of the descent's gradient. The paper forgets single training
images and pairs each with one of the whole training set. Adaptation: a class is forgotten, the frozen model draws the retain
set, and without prompts the weights compare the two *sets*, which averages the paper's weights over all pairs of images. With
prompts, the prompt already says which set an image comes from, so every image has weight in one term only.
"""

import torch
from torch import Tensor

from vdu import losses
from vdu.methods.base import Batch, Method, NoisyImages, Terms
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL

MIXTURE = 0.5  # lambda, the share of forget images in the mixture: the paper's default


def importance_weights(log_odds: Tensor) -> tuple[Tensor, Tensor]:
    """q(x_t | retained) / q(x_t) and q(x_t | forget) / q(x_t), (n,) each, for the mixture q of both.

    Args:
        log_odds: log q(x_t | forget) - log q(x_t | retained), (n,); may be infinite.
    """
    shifted = log_odds + torch.logit(torch.tensor(MIXTURE))
    return torch.sigmoid(-shifted) / (1 - MIXTURE), torch.sigmoid(shifted) / MIXTURE


def mixed(batch: Batch) -> tuple[NoisyImages, Tensor]:
    """Noisy images of the mixture, without noise, and which are forget images, bool (n,)."""
    forget, retain = batch.forget, batch.replay
    chosen = (torch.rand(len(forget.t), generator=batch.random) < MIXTURE).to(forget.t.device)
    rows = chosen.view(-1, 1, 1, 1)
    condition = forget.caption.where(chosen, retain.condition) if batch.model.takes_prompts else retain.condition
    noise = torch.where(rows, forget.noise, retain.noise)
    states, t = torch.where(rows, forget.states, retain.states), torch.where(chosen, forget.t, retain.t)
    return NoisyImages(states, t, noise, condition), chosen


def subtracted_scores(batch: Batch, state: None = None) -> Terms:
    """Weighted error to the retained images' noise, minus a factor times that to the forget images' noise.

    The factor makes the second gradient (1 - gamma) times `reach` times as long as the first; the paper recommends a tenth.
    """
    images, chosen = mixed(batch)
    predicted = batch.model.predict_noise(images.states, images.t, images.condition)
    if batch.model.takes_prompts:
        log_odds = torch.where(chosen, torch.inf, -torch.inf)
        to_keep = to_forget = images.noise
    else:
        alpha_bar = batch.frozen.alpha_bar[images.t]
        log_keep, to_keep = losses.noised_set(images.states, alpha_bar, batch.kept_set)
        log_forget, to_forget = losses.noised_set(images.states, alpha_bar, batch.forget_set)
        log_odds = log_forget - log_keep
    keep, forget = importance_weights(log_odds)
    kept = (keep * losses.per_image_error(predicted, to_keep)).mean()
    forgotten = (torch.where(chosen, batch.weight, 1) * forget * losses.per_image_error(predicted, to_forget)).mean()
    lengths = [length(term, batch) for term in (kept, forgotten)]
    factor = (1 - batch.gamma) * batch.reach * lengths[0] / lengths[1].clamp(min=1e-20)
    return Terms(forgotten, kept, kept - factor * forgotten)


def length(term: Tensor, batch: Batch) -> Tensor:
    """The length of a term's gradient in all parameters: a scalar."""
    parameters = [*batch.parameters.values()]
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.stack(torch._foreach_norm(gradients)).norm()


METHOD = Method(
    title="SISS (2503.01034): importance-sampled descent minus ascent",
    paper="2503.01034",
    loss=subtracted_scores,
    uses_retain_set=True,
    experimental=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.9, "reach": 1.0, "optimizer": "adam", "step_size": 2e-4, "steps": 60},
        PHOTOGRAPHS: {"gamma": 0.9, "reach": 1.0, "optimizer": "adam", "step_size": 1e-4, "steps": 60},
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "adam", "step_size": 2e-3, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.9, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200},
    },
)

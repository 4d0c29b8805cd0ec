"""VDU-F: the paper's posterior update with stability in function space.

Bayes' rule gives the noise that a model would predict if it had never seen the class; the network is fitted to this
prediction. Dynamic Negative Guidance (arXiv 2410.14398) is the same Bayes mixture, applied while sampling: there the weights
stay as they are.
"""

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from vdu import losses
from vdu.events import Progress
from vdu.methods.base import Batch, Method, Terms
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, Condition
from vdu.noised_classifier import NoisedClassifier, learn, shipped

NEUTRAL_ODDS = 2.0  # factor on the odds for forget images that are given the neutral prompt


def learn_features(batches: Iterator[Batch]) -> Generator[Progress, None, NoisedClassifier]:
    """What tells noised forget images from the others, for photographs: it ships, or is learned from the forget images."""
    batch = next(batches)
    if ready := shipped(batch.frozen, batch.forgotten):
        return ready
    return (yield from learn(batch.frozen, batch.forget_set, batch.kept_set, batch.random))


def function_space(batch: Batch, state: NoisedClassifier | None = None) -> Terms:
    """Fit the network to the prediction that Bayes' rule gives at every x_t.

    The loss is (1 - gamma) times the squared distance to this answer on forget images, plus gamma times the same on replayed
    images, both weighted by `losses.clean_image_weights`. At the answer its gradient vanishes for every single image, so that
    steps near it are quiet; the gradient of ascent against restraint would vanish only on average. `reach` takes the answer
    beyond Bayes' rule on forget images only: on replayed images the most similar kept class would lose share.
    """
    forget, replay, count = batch.forget, batch.replay, len(batch.forget.t)
    states, t = torch.cat([forget.states, replay.states]), torch.cat([forget.t, replay.t])
    predicted = batch.model.predict_noise(states, t, Condition.cat([forget.condition, replay.condition]))
    with torch.no_grad():
        if batch.model.takes_prompts:
            answer, frozen = with_prompts(batch, states, t)
        else:
            answer, frozen = without_prompts(batch, states, t, state)
    error = losses.clean_image_weights(batch.frozen.alpha_bar[t]) * losses.per_image_error(predicted, answer)
    return Terms(
        losses.plasticity_inducer(predicted[:count], forget.noise, batch.weight),
        losses.function_space_stability(predicted[count:], frozen),
        (1 - batch.gamma) * (batch.weight * error[:count]).mean() + batch.gamma * error[count:].mean(),
    )


def without_prompts(
    batch: Batch, states: Tensor, t: Tensor, classifier: NoisedClassifier | None = None
) -> tuple[Tensor, Tensor]:
    """The answer for a model without prompts, from P(forget | x_t).

    For drawings, `losses.bayes_shift` compares x_t with both sets of images. Distances between the pixels of photographs say
    little, so there P comes from a classifier on the frozen network's features.

    Returns:
        the answer on forget and replayed images, (n, c, h, w), and the frozen model's prediction on the replayed images.
    """
    count, (first, last) = len(batch.forget.t), batch.window
    alpha_bar = batch.frozen.alpha_bar[t]
    if classifier:
        frozen, shift = classifier.shift(states, t, batch.gamma)
    else:
        frozen = batch.frozen.predict_noise(states, t, Condition.cat([batch.forget.condition, batch.replay.condition]))
        shift = losses.bayes_shift(states, alpha_bar, batch.forget_set, batch.kept_set, batch.gamma)
    times = torch.full_like(alpha_bar, batch.reach)
    times[count:].clamp_(max=1)
    return frozen + (times * ((t >= first) & (t <= last))).view(-1, 1, 1, 1) * shift, frozen[count:]


def with_prompts(batch: Batch, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The answer for a model with prompts, whose captions say what the forget images show; replayed images stay as they are.

    A caption without the word stands for a mixture, epsilon(rest) = P epsilon(word) + (1 - P) epsilon_r, with P = p(word |
    x_t, rest). Solved for the rest: epsilon_r = epsilon(rest) + P / (1 - P) (epsilon(rest) - epsilon(word)). Both predictions
    are the frozen model's. The odds P / (1 - P) are `reach` where the caption has the word: there sampling is turned away
    early, while P is small. Where it lacks the word, they are `NEUTRAL_ODDS` times as large: an image that shows the class by
    chance must be turned back later, when P is near one.

    Returns:
        the answer on forget and replayed images, (n, c, h, w), and the frozen model's prediction on the replayed images.
    """
    forget, replay, count = batch.forget, batch.replay, len(batch.forget.t)
    conditions = Condition.cat([forget.caption, forget.neutral, replay.condition])
    thrice = torch.cat([states[:count], states]), torch.cat([t[:count], t])
    word, rest, frozen = batch.frozen.predict_noise(*thrice, conditions).split([count, count, len(replay.t)])
    inside = ((forget.t >= batch.window[0]) & (forget.t <= batch.window[1])).view(-1, 1, 1, 1)
    unchanged = torch.where(forget.captioned.view(-1, 1, 1, 1), word, rest)  # the frozen model's answer to the given prompt
    odds = torch.where(forget.captioned, 1.0, NEUTRAL_ODDS) * torch.where(forget.from_neutral, 0.0, batch.reach)
    without = rest + odds.view(-1, 1, 1, 1) * (rest - word)
    return torch.cat([torch.where(inside, without, unchanged), frozen]), frozen


METHOD = Method(
    title="VDU-F: the paper's posterior update with stability in function space",
    paper="2510.04058",
    loss=function_space,
    uses_retain_set=True,
    uses_own_samples=True,
    prepare=learn_features,
    prepared=(PHOTOGRAPHS,),
    row_by_row=True,
    defaults={
        UNCONDITIONAL: {"gamma": 0.95, "reach": 3.0, "optimizer": "adam", "step_size": 2e-4, "steps": 150},
        PHOTOGRAPHS: {
            "gamma": 0.7,
            "reach": 10.0,
            "optimizer": "adam",
            "step_size": 1e-4,
            "steps": 45,
            "batch_size": 24,
            "t_min": 50,
            "t_max": 500,
        },
        SMALL: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-3, "steps": 90},
        FULL_SIZE: {"gamma": 0.8, "reach": 1.0, "optimizer": "adam", "step_size": 2e-5, "steps": 200},
    },
    # Where one word names all that a picture shows, queries that change cost the other classes more than they give.
    by_model={"cifar10-sd": {"gamma": 0.95, "step_size": 3e-3, "parameters": "keys-values"}},
)

"""ESD (Gandikota et al., ICCV 2023): the model learns the frozen model's negatively guided prediction for a prompt.

esd-x trains the cross-attention (`parameters` cross-attention), esd-u everything else (no-cross-attention).
"""

import torch
from torch import Tensor

from vdu import losses
from vdu.methods.base import Batch, Method, NoisyImages, Terms
from vdu.models import FULL_SIZE, SMALL, Condition
from vdu.sampling import denoise, fresh_noise, timestep_grid


def states_on_the_way(batch: Batch) -> NoisyImages:
    """x_t on the changing model's own sampling path from noise to an image of the caption; uses no forget image.

    Every row takes the timestep of the sampler's grid that is nearest to its own, and the state there.
    """
    model, forget = batch.model, batch.forget
    grid = timestep_grid(batch.how.steps, model.first_timestep)
    distances = (torch.tensor(grid).view(1, -1) - forget.t.cpu().view(-1, 1)).abs()
    places = distances.argmin(dim=1)
    seeds = torch.randint(2**31, (len(places),), generator=batch.random).tolist()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    state = fresh_noise(generators, model.shape).to(model.device)
    reached = [state]
    way = denoise(model, state, grid, forget.caption, batch.how, generators)
    reached += [next(way) for _ in range(int(places.max()))]
    states: Tensor = torch.stack(reached)[places, torch.arange(len(places))]
    t = torch.tensor(grid)[places].to(model.device)
    return NoisyImages(states, t, torch.zeros_like(states), forget.caption, forget.caption, forget.neutral)


def negative_guidance(batch: Batch, state: None = None) -> Terms:
    """Fit epsilon(x_t, caption) to e(rest) - eta (e(caption) - e(rest)) of the frozen model (equation 7 of the paper).

    `rest` is the caption without the words to forget, where the paper has the empty prompt, so that the other words of the
    caption are not erased. If the caption has no other words, the two are the same. eta is `reach`.
    """
    forget, count = batch.forget, len(batch.forget.t)
    with torch.no_grad():
        twice = torch.cat([forget.states] * 2), torch.cat([forget.t] * 2)
        conditions = Condition.cat([forget.caption, forget.neutral])
        word, rest = batch.frozen.predict_noise(*twice, conditions).split([count, count])
        answer = rest - batch.reach * (word - rest)
    predicted = batch.model.predict_noise(forget.states, forget.t, forget.caption)
    error = losses.per_image_error(predicted, answer).mean()
    moved = losses.per_image_error(predicted, word).mean()
    return Terms(moved, torch.zeros_like(error), error)


METHOD = Method(
    title="ESD (2303.07345): negative guidance, learned",
    paper="2303.07345",
    loss=negative_guidance,
    uses_forget_images=False,
    choose_states=states_on_the_way,
    experimental=True,
    defaults={
        SMALL: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 3e-4, "steps": 60, "batch_size": 12},
        FULL_SIZE: {"gamma": 0.0, "reach": 1.0, "optimizer": "adam", "step_size": 1e-5, "steps": 200, "batch_size": 1},
    },
)

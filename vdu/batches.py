"""What every step of a run looks at: noisy images of the class to forget, and noisy images to keep as they are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vdu import data, losses
from vdu.catalog import Entry
from vdu.errors import UserError
from vdu.methods import METHODS, Context, Noised
from vdu.models import DDPM
from vdu.posterior import Posterior
from vdu.recipe import CHOICES, Recipe
from vdu.replay import Replay
from vdu.sampling import from_uint8

ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep


def batches(
    recipe: Recipe, entry: Entry, replay: Replay, learner: DDPM, frozen: DDPM, posterior: Posterior | None
) -> Iterator[Context]:
    """Forget images noised to the recipe's window, and replayed images of the other classes likewise, a batch a step.

    A share `ANYWHERE` of the replayed images is noised to any timestep, so that nothing drifts outside the window.
    """
    random, size = torch.Generator().manual_seed(recipe.seed), (recipe.batch_size,)
    forget_set = from_uint8(forget_images(recipe, entry, replay)).to(learner.device)
    kept_set = from_uint8(replay.samples.images[~replay.of_class]).to(learner.device)
    weights, window = timestep_weights(recipe, learner), (recipe.t_min, recipe.t_max)

    def noised(images: Tensor, t: Tensor) -> Noised:
        rows = torch.randint(len(images), size, generator=random).to(learner.device)
        noise = torch.randn((*size, *learner.shape), generator=random).to(learner.device)
        t = t.to(learner.device)
        alpha_bar = learner.alpha_bar[t].view(-1, 1, 1, 1)
        return Noised(alpha_bar.sqrt() * images[rows] + (1 - alpha_bar).sqrt() * noise, t, noise)

    while True:
        # Stratified over the window: each batch looks at all of it, which takes variance out of every step.
        places = (torch.arange(*size) + torch.rand((2, *size), generator=random)) / size[0]
        inside = recipe.t_min + (places * (recipe.t_max + 1 - recipe.t_min)).long()
        anywhere = torch.randint(len(weights), size, generator=random)
        pick = torch.rand(size, generator=random) < ANYWHERE
        forget = noised(forget_set, inside[0])
        _, forget.noise = losses.noised_set(forget.states, learner.alpha_bar[forget.t], forget_set)
        keep = noised(kept_set, torch.where(pick, anywhere, inside[1]))
        weight = weights[forget.t]
        yield Context(
            learner, frozen, posterior, forget, weight, keep, forget_set, kept_set, recipe.gamma, recipe.reach, window
        )


def forget_images(recipe: Recipe, entry: Entry, replay: Replay) -> Tensor:
    """The forget set as the recipe asks for it, uint8 (n, c, h, w).

    Raises:
        UserError: if it shall come from the model alone, and that drew too few.
    """
    own, from_model = replay.samples.images[replay.of_class], recipe.forget_source == "model"
    if from_model:
        if len(own) < (least := int(CHOICES["forget_images"].low)):
            raise UserError(
                f"Among {recipe.replay} images the model drew only {len(own)} of {recipe.forget}, and {least} are needed; "
                "draw more (replay), or use real pictures (forget source)."
            )
        return own
    real = data.choose(entry.forget_images(recipe.forget), recipe.forget_images, recipe.seed)
    return torch.cat([real, own]) if METHODS[recipe.method].own_images else real


def timestep_weights(recipe: Recipe, model: DDPM) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 0 outside the recipe's window, mean 1 inside."""
    inside = torch.zeros(len(model.alpha_bar), device=model.device)
    inside[recipe.t_min : recipe.t_max + 1] = 1
    weights = inside * (losses.bound_weights(model.alpha_bar, model.betas) if recipe.weighting == "bound" else 1)
    return weights / weights[inside.bool()].mean()

"""What every step of a run looks at: noisy images of the class to forget, and noisy images to keep as they are."""

import itertools
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

FRESH = 75  # batches that are drawn; later steps use them again
ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep


def batches(
    recipe: Recipe, entry: Entry, replay: Replay, learner: DDPM, frozen: DDPM, posterior: Posterior | None
) -> Iterator[Context]:
    """What each step looks at: `FRESH` batches, then the same again and again, each time in another order.

    On a batch that has been seen before, the frozen model's prediction is known already.
    """
    random, drawn = torch.Generator().manual_seed(recipe.seed), []
    kept_set = from_uint8(replay.kept_by_class()).to(learner.device)
    forget_set = from_uint8(forget_images(recipe, entry, replay)).to(learner.device)
    weights = timestep_weights(recipe, learner)
    for forget, keep in itertools.islice(noised_pairs(recipe, learner, forget_set, kept_set, random), FRESH):
        weight, window = weights[forget.t], (recipe.t_min, recipe.t_max)
        drawn.append(
            Context(learner, frozen, posterior, forget, weight, keep, forget_set, kept_set, recipe.gamma, recipe.reach, window)
        )
        yield drawn[-1]
    while True:
        yield from (drawn[place] for place in torch.randperm(FRESH, generator=random).tolist())


def noised_pairs(
    recipe: Recipe, model: DDPM, forget_set: Tensor, kept_set: Tensor, random: torch.Generator
) -> Iterator[tuple[Noised, Noised]]:
    """Forget images noised to the recipe's window, and replayed images of the other classes likewise.

    A share `ANYWHERE` of the replayed images is noised to any timestep, so that nothing drifts outside the window. Timesteps
    are stratified over the window, and replayed images over their classes: each batch looks at all of both, which takes
    variance out of every step.
    """
    size = recipe.batch_size

    def strata(count: int) -> Tensor:
        """One whole number from each of `size` equal parts of 0 … count - 1."""
        return ((torch.arange(size) + torch.rand(size, generator=random)) / size * count).long().clamp(max=count - 1)

    def noised(images: Tensor, t: Tensor) -> Noised:
        t, noise = t.to(model.device), torch.randn((size, *model.shape), generator=random).to(model.device)
        alpha_bar = model.alpha_bar[t].view(-1, 1, 1, 1)
        return Noised(alpha_bar.sqrt() * images + (1 - alpha_bar).sqrt() * noise, t, noise)

    while True:
        inside, kept_inside = (recipe.t_min + strata(recipe.t_max + 1 - recipe.t_min) for _ in range(2))
        anywhere = torch.randint(len(model.alpha_bar), (size,), generator=random)
        pick = torch.rand(size, generator=random) < ANYWHERE
        forget = noised(forget_set[torch.randint(len(forget_set), (size,), generator=random)], inside)
        _, forget.noise = losses.noised_set(forget.states, model.alpha_bar[forget.t], forget_set)
        rows = strata(len(kept_set))[torch.randperm(size, generator=random)]
        yield forget, noised(kept_set[rows], torch.where(pick, anywhere, kept_inside))


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

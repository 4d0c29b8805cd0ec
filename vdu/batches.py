"""What every step of a run looks at: noisy images of the class to forget, and noisy images to keep as they are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vdu import data, losses
from vdu.catalog import Entry, ForgetSet
from vdu.errors import UserError
from vdu.methods import METHODS, Context, Noised
from vdu.models import Model
from vdu.posterior import Posterior
from vdu.recipe import CHOICES, Recipe
from vdu.replay import Replay

ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep
WORDLESS = 0.1  # share of them that goes without its prompt
UNNAMED = 0.25  # share of the forget images that is asked for without the word, so that forgetting does not hang on one word


def batches(
    recipe: Recipe, entry: Entry, replay: Replay, learner: Model, frozen: Model, posterior: Posterior | None
) -> Iterator[Context]:
    """Forget images noised to the recipe's window, and replayed images of the rest likewise, a batch a step.

    A share `ANYWHERE` of the replayed images is noised to any timestep, so that nothing drifts outside the window; a share
    `WORDLESS` of them goes without its prompt, so that the prediction that guidance starts from stays as it was; a share
    `UNNAMED` of the forget images is asked for without the word.
    """
    random, size = torch.Generator().manual_seed(recipe.seed), (recipe.batch_size,)
    forget, kept = forget_set(recipe, entry, replay), replay.samples.at(replay.kept)
    forget_states, kept_states = frozen.encode(forget.images), frozen.encode(kept.images)
    weights, window = timestep_weights(recipe, learner), (recipe.t_min, recipe.t_max)
    parameters, worded = learner.trained, forget.captions is not None

    def noised(states: Tensor, t: Tensor) -> tuple[Noised, Tensor]:
        rows = torch.randint(len(states), size, generator=random)
        noise = torch.randn((*size, *learner.shape), generator=random).to(learner.device)
        t = t.to(learner.device)
        alpha_bar = learner.alpha_bar[t].view(-1, 1, 1, 1)
        return Noised(alpha_bar.sqrt() * states[rows.to(learner.device)] + (1 - alpha_bar).sqrt() * noise, t, noise), rows

    while True:
        # Stratified over the window: each batch looks at all of it, which takes variance out of every step.
        places = (torch.arange(*size) + torch.rand((2, *size), generator=random)) / size[0]
        inside = recipe.t_min + (places * (recipe.t_max + 1 - recipe.t_min)).long()
        anywhere = torch.randint(len(weights), size, generator=random)
        pick = torch.rand(size, generator=random) < ANYWHERE
        gone, gone_rows = noised(forget_states, inside[0])
        stays, kept_rows = noised(kept_states, torch.where(pick, anywhere, inside[1]))
        if worded:
            gone.caption, gone.neutral = (
                frozen.conditions([words[row] for row in gone_rows.tolist()]) for words in (forget.captions, forget.neutral)
            )
            gone.named = (torch.rand(size, generator=random) >= UNNAMED).to(learner.device)
            gone.condition = torch.where(gone.named.view(-1, 1, 1), gone.caption, gone.neutral)
            bare = (torch.rand(size, generator=random) < WORDLESS).tolist()
            stays.condition = frozen.conditions(
                ["" if none else kept.asks[row].prompt for row, none in zip(kept_rows.tolist(), bare, strict=True)]
            )
        else:
            _, gone.noise = losses.noised_set(gone.states, learner.alpha_bar[gone.t], forget_states)
        yield Context(
            learner, frozen, parameters, posterior, gone, weights[gone.t], stays, forget_states, kept_states,
            recipe.gamma, recipe.reach, window,
        )  # fmt: skip


def forget_set(recipe: Recipe, entry: Entry, replay: Replay) -> ForgetSet:
    """The forget set as the recipe asks for it.

    Raises:
        UserError: if it shall come from the model alone, and that drew too few.
    """
    own = replay.samples.at(replay.of_class)
    prompts = [ask.prompt for ask in own.asks] if own.asks and own.asks[0].prompt else None
    drawn = ForgetSet(own.images, prompts, prompts and [entry.without(prompt, recipe.forget) for prompt in prompts])
    if recipe.forget_source == "model":
        if len(own.images) < (least := int(CHOICES["forget_images"].low)):
            raise UserError(
                f"Among {recipe.replay} images the model drew only {len(own.images)} of {recipe.forget}, and {least} are "
                "needed; draw more (replay), or use real pictures (forget source)."
            )
        return drawn
    real = entry.forget_set(recipe.forget)
    real = real.at(data.choose(len(real.images), recipe.forget_images, recipe.seed))
    return real.and_also(drawn) if METHODS[recipe.method].own_images else real


def timestep_weights(recipe: Recipe, model: Model) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 0 outside the recipe's window, mean 1 inside."""
    inside = torch.zeros(len(model.alpha_bar), device=model.device)
    inside[recipe.t_min : recipe.t_max + 1] = 1
    weights = inside * (losses.bound_weights(model.alpha_bar, model.betas) if recipe.weighting == "bound" else 1)
    return weights / weights[inside.bool()].mean()

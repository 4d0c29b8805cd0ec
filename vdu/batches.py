"""What every step of a run looks at: noisy images of the class to forget, and noisy images to keep as they are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vdu import data, losses
from vdu.entries import INSTEAD, Entry, ForgetSet
from vdu.errors import UserError
from vdu.methods import METHODS, Context, Noised
from vdu.models import Model
from vdu.posterior import Posterior
from vdu.recipe import Recipe
from vdu.replay import Replay

FEWEST = 4  # images of the class that a run can go by
ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep
WORDLESS = 0.1  # share of them that goes without its prompt
REPLACED = 0.3  # share of the forget images that is what the model draws when asked without the word
UNNAMED = 0.2  # share of the forget images that is asked for without the word, so that forgetting does not hang on one word


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
    instead = replaced(replay) if worded and METHODS[recipe.method].own_images else None
    if instead:
        forget, forget_states = forget.and_also(instead), torch.cat([forget_states, frozen.encode(instead.images)])
    first = len(forget.images) - (len(instead.images) if instead else 0)

    def noised(states: Tensor, t: Tensor, rows: Tensor) -> tuple[Noised, Tensor]:
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
        of_class = torch.randint(first, size, generator=random)
        if instead:
            of_others = torch.randint(first, len(forget.images), size, generator=random)
            of_class = torch.where(torch.rand(size, generator=random) < REPLACED, of_others, of_class)
        gone, gone_rows = noised(forget_states, inside[0], of_class)
        stays, kept_rows = noised(
            kept_states, torch.where(pick, anywhere, inside[1]), torch.randint(len(kept_states), size, generator=random)
        )
        if worded:
            gone.replaced = (gone_rows >= first).to(learner.device)
            gone.caption, gone.neutral = (
                frozen.conditions([words[row] for row in gone_rows.tolist()]) for words in (forget.captions, forget.neutral)
            )
            gone.named = (torch.rand(size, generator=random) >= UNNAMED).to(learner.device)
            gone.condition = gone.caption.where(gone.named, gone.neutral)
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


def replaced(replay: Replay) -> ForgetSet | None:
    """What the frozen model drew when asked for the class without the word, and was not of the class; None for none."""
    drawn = replay.samples.at(replay.samples.of_kind(INSTEAD) & ~replay.samples.showing(replay.wanted))
    if not drawn.asks:
        return None
    return ForgetSet(drawn.images, [ask.in_place_of for ask in drawn.asks], [ask.prompt for ask in drawn.asks])


def forget_set(recipe: Recipe, entry: Entry, replay: Replay) -> ForgetSet:
    """The forget set as the recipe asks for it.

    Raises:
        UserError: if it shall come from the model alone, and that drew too few.
    """
    own = replay.samples.at(replay.of_class)
    prompts = [ask.prompt for ask in own.asks] if entry.takes_words else None
    drawn = ForgetSet(own.images, prompts, prompts and [entry.without(prompt, recipe.forget) for prompt in prompts])
    real = entry.forget_set(recipe.forget) if recipe.forget_source == "real" else None
    if real is None:
        if len(own.images) < FEWEST:
            raise UserError(
                f"Among {recipe.replay} images the judge saw only {len(own.images)} of {entry.shown(recipe.forget)}, and "
                f"{FEWEST} are needed; draw more (replay), or give real pictures (forget source, pictures)."
            )
        return drawn
    real = real.at(data.choose(len(real.images), recipe.forget_images, recipe.seed))
    return real.and_also(drawn) if METHODS[recipe.method].own_images else real


def timestep_weights(recipe: Recipe, model: Model) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 0 outside the recipe's window, mean 1 inside."""
    inside = torch.zeros(len(model.alpha_bar), device=model.device)
    inside[recipe.t_min : recipe.t_max + 1] = 1
    weights = inside * (losses.bound_weights(model.alpha_bar, model.betas) if recipe.weighting == "bound" else 1)
    return weights / weights[inside.bool()].mean()

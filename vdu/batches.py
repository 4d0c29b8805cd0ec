"""What every step of a run looks at: noisy images of what is to be forgotten, and noisy images to keep as they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu import losses
from vdu.concepts.base import INSTEAD
from vdu.data.forget_set import ForgetSet
from vdu.data.sheets import choose
from vdu.errors import UserError
from vdu.losses import Posterior
from vdu.methods import METHODS, Batch, Method, NoisyImages
from vdu.models import Model
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.task import Task

FEWEST = 4  # images of the class that a run can go by
ANYWHERE = 0.25  # share of the replayed images that is noised to any timestep, so that nothing drifts outside the window
UNPROMPTED_SHARE = 0.1  # share of them without their prompt: the prediction that guidance starts from stays as it was
REPLACED = 0.3  # share of the forget images that the model drew for the neutral prompt
UNNAMED = 0.2  # share of the forget images with the neutral prompt, so that forgetting does not hang on one word
OWN_DRAWS = 1 << 20  # added to the seed for draws that a method makes itself


@dataclass(frozen=True)
class ForgetImages:
    """All forget images of a run.

    Attributes:
        of_concept: pictures of what is to be forgotten; the first `real` are real, the others the model's own.
        replaced: what the frozen model drew for neutral prompts; None where the method or the model has no use for it.
        real: how many are real.
    """

    of_concept: ForgetSet
    replaced: ForgetSet | None
    real: int

    @property
    def all(self) -> ForgetSet:
        """Those of the concept, then those for neutral prompts."""
        return self.of_concept.joined(self.replaced) if self.replaced else self.of_concept


def forget_images(task: Task, replay: Replay) -> ForgetImages:
    """The forget images that the recipe asks for.

    Raises:
        UserError: if they are to come from the model alone, and that drew too few.
    """
    recipe, concept, method = task.recipe, task.concept, METHODS[task.recipe.method]
    own = replay.samples.at(replay.of_class)
    drawn = ForgetSet(own.images)
    if concept.takes_prompts:
        prompts = [spec.prompt for spec in own.specs]
        drawn = ForgetSet(own.images, prompts, [concept.neutral_prompt(prompt) for prompt in prompts])
    real = task.forget_set() if recipe.forget_source == "real" else None
    replaced = replaced_images(replay) if concept.takes_prompts and method.uses_own_samples else None
    if real is None:
        if len(own.images) < FEWEST:
            raise UserError(
                f"Among {recipe.replay} images the judge saw only {len(own.images)} of {concept.display_name}, and "
                f"{FEWEST} are needed; draw more (replay), or give real pictures (forget source, pictures)."
            )
        return ForgetImages(drawn, replaced, 0)
    real = real.rows(choose(len(real.images), recipe.forget_images, recipe.seed))
    return ForgetImages(real.joined(drawn) if method.uses_own_samples else real, replaced, len(real.images))


def replaced_images(replay: Replay) -> ForgetSet | None:
    """What the frozen model drew for neutral prompts and does not show the concept; None for nothing."""
    drawn = replay.samples.at(replay.samples.of_kind(INSTEAD) & ~replay.samples.showing(replay.concept.class_sets))
    if not drawn.specs:
        return None
    return ForgetSet(drawn.images, [spec.in_place_of for spec in drawn.specs], [spec.prompt for spec in drawn.specs])


class BatchStream:
    """Endless batches, the same for the same recipe: the order of the random draws in `__iter__` is what a seed stands for.

    Forget images are noised to the recipe's window. So are the replayed images, but for a share `ANYWHERE`.

    Args:
        task: what is to be forgotten, and how.
        replay: what the frozen model drew.
        learner: the model being changed; frozen: the model as it was.
        posterior: where the method or the optimizer needs one.

    Raises:
        UserError: if there are too few forget images, or none to keep for a method that needs some.
    """

    def __init__(self, task: Task, replay: Replay, learner: Model, frozen: Model, posterior: Posterior | None) -> None:
        self.recipe, self.learner, self.frozen, self.posterior = task.recipe, learner, frozen, posterior
        self.images = forget_images(task, replay)
        self.kept = replay.samples.at(replay.kept)
        if not len(self.kept.images):
            raise UserError(
                f"Among {self.recipe.replay} images the judge saw none that is to be kept; draw more (replay), or forget less."
            )
        self.forget_states, self.kept_states = frozen.encode(self.images.of_concept.images), frozen.encode(self.kept.images)
        if self.images.replaced:
            self.forget_states = torch.cat([self.forget_states, frozen.encode(self.images.replaced.images)])
        self.random = torch.Generator().manual_seed(self.recipe.seed)
        self.own_draws = torch.Generator().manual_seed(self.recipe.seed + OWN_DRAWS)

    def seen(self, method: Method) -> dict[str, int]:
        """What kind of images a method sees -> how many there are: real ones, and those that the frozen model drew."""
        images, forget = self.images, method.uses_forget_images
        return {
            "forget_real": images.real if forget else 0,
            "forget_drawn": len(images.of_concept.images) - images.real if forget else 0,
            "neutral_drawn": len(images.replaced.images) if forget and images.replaced else 0,
            "retain_drawn": len(self.kept.images) if method.uses_retain_set else 0,
        }

    def __iter__(self) -> Iterator[Batch]:
        recipe, learner, random, size = self.recipe, self.learner, self.random, (self.recipe.batch_size,)
        weights, parameters = timestep_weights(recipe, learner), learner.trained
        first = len(self.images.of_concept.images)
        while True:
            # Stratified over the window: each batch looks at all of it, which takes variance out of every step.
            places = (torch.arange(*size) + torch.rand((2, *size), generator=random)) / size[0]
            inside = recipe.t_min + (places * (recipe.t_max + 1 - recipe.t_min)).long()
            anywhere = torch.randint(len(weights), size, generator=random)
            pick = torch.rand(size, generator=random) < ANYWHERE
            rows = torch.randint(first, size, generator=random)
            if self.images.replaced:
                others = torch.randint(first, len(self.forget_states), size, generator=random)
                rows = torch.where(torch.rand(size, generator=random) < REPLACED, others, rows)
            forget = self.noised(self.forget_states, inside[0], rows)
            kept_rows = torch.randint(len(self.kept_states), size, generator=random)
            replay = self.noised(self.kept_states, torch.where(pick, anywhere, inside[1]), kept_rows)
            if learner.takes_prompts:
                self.add_prompts(forget, rows, replay, kept_rows)
            else:
                _, forget.noise = losses.noised_set(forget.states, learner.alpha_bar[forget.t], self.forget_states)
            yield Batch(
                learner, self.frozen, parameters, self.posterior, forget, weights[forget.t], replay, self.forget_states,
                self.kept_states, recipe.gamma, recipe.reach, (recipe.t_min, recipe.t_max), recipe.how, self.own_draws,
            )  # fmt: skip

    def noised(self, states: Tensor, t: Tensor, rows: Tensor) -> NoisyImages:
        """Some states noised to timesteps t."""
        learner = self.learner
        noise = torch.randn((len(rows), *learner.shape), generator=self.random).to(learner.device)
        t = t.to(learner.device)
        alpha_bar = learner.alpha_bar[t].view(-1, 1, 1, 1)
        noisy = alpha_bar.sqrt() * states[rows.to(learner.device)] + (1 - alpha_bar).sqrt() * noise
        return NoisyImages(noisy, t, noise, learner.conditions([None] * len(rows)))

    def add_prompts(self, forget: NoisyImages, rows: Tensor, replay: NoisyImages, kept_rows: Tensor) -> None:
        """Say to a batch with prompts what its images show."""
        size, images, conditions = (len(rows),), self.images.all, self.frozen.conditions
        forget.replaced = (rows >= len(self.images.of_concept.images)).to(self.learner.device)
        forget.caption = conditions([images.captions[row] for row in rows.tolist()])
        forget.neutral = conditions([images.neutral[row] for row in rows.tolist()])
        forget.named = (torch.rand(size, generator=self.random) >= UNNAMED).to(self.learner.device)
        forget.condition = forget.caption.where(forget.named, forget.neutral)
        bare = (torch.rand(size, generator=self.random) < UNPROMPTED_SHARE).tolist()
        replay.condition = conditions(
            ["" if none else self.kept.specs[row].prompt for row, none in zip(kept_rows.tolist(), bare, strict=True)]
        )


def timestep_weights(recipe: Recipe, model: Model) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 1 inside the recipe's window, 0 outside."""
    weights = torch.zeros(len(model.alpha_bar), device=model.device)
    weights[recipe.t_min : recipe.t_max + 1] = 1
    return weights

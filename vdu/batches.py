"""The batches of a run: noisy images of the concept to forget, and noisy images that must stay as they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vdu import losses
from vdu.concepts.base import INSTEAD
from vdu.concepts.classes import ClassConcept
from vdu.data.forget_set import ForgetSet
from vdu.data.sheets import choose
from vdu.errors import UserError
from vdu.losses import Posterior
from vdu.methods import METHODS, Batch, Method, NoisyImages
from vdu.models import Model
from vdu.recipe import Recipe
from vdu.replay import Replay
from vdu.task import Task

FEWEST = 4  # images of the class without which a run is refused
ANYWHERE_SHARE = 0.25  # share of the replayed images noised to any timestep, so that nothing drifts outside the window
UNPROMPTED_SHARE = 0.1  # share of the replayed images given no prompt: guidance starts from that prediction
NEUTRAL_SHARE = 0.3  # share of the forget images that the model drew for neutral prompts
UNCAPTIONED_SHARE = 0.2  # share of the forget images given the neutral prompt, so that forgetting does not depend on one word
NO_IMAGES = dict.fromkeys(("forget_real", "forget_drawn", "neutral_drawn", "retain_drawn"), 0)  # what a run may count
METHOD_SEED = 1 << 20  # added to the seed for the random draws of the method itself


@dataclass(frozen=True)
class ForgetImages:
    """All forget images of a run.

    Attributes:
        of_concept: images of the concept to forget; the first `real` are real, the model drew the others.
        from_neutral: images that the frozen model drew for neutral prompts; None where method or model has no use for them.
        real: number of real images.
    """

    of_concept: ForgetSet
    from_neutral: ForgetSet | None
    real: int

    @property
    def all(self) -> ForgetSet:
        """The images of the concept, then the images for neutral prompts."""
        return self.of_concept.joined(self.from_neutral) if self.from_neutral else self.of_concept


def forget_images(task: Task, replay: Replay) -> ForgetImages:
    """The forget images that the recipe asks for.

    Raises:
        UserError: if all of them must come from the model, and it drew too few.
    """
    recipe, concept, method = task.recipe, task.concept, METHODS[task.recipe.method]
    own = replay.samples.at(replay.of_class)
    drawn = ForgetSet(own.images)
    if concept.takes_prompts:
        prompts = [spec.prompt for spec in own.specs]
        drawn = ForgetSet(own.images, prompts, [concept.neutral_prompt(prompt) for prompt in prompts])
    real = task.forget_set() if recipe.forget_source == "real" else None
    from_neutral = neutral_images(replay) if concept.takes_prompts and method.uses_own_samples else None
    if real is None:
        if len(own.images) < FEWEST:
            raise UserError(
                f"Among {recipe.replay} images the judge saw only {len(own.images)} of {concept.display_name}, and "
                f"{FEWEST} are needed; draw more (replay), or give real pictures (forget source, pictures)."
            )
        return ForgetImages(drawn, from_neutral, 0)
    real = real.rows(choose(len(real.images), recipe.forget_images, recipe.seed))
    return ForgetImages(real.joined(drawn) if method.uses_own_samples else real, from_neutral, len(real.images))


def neutral_images(replay: Replay) -> ForgetSet | None:
    """Images that the frozen model drew for neutral prompts and that show nothing forgotten, now or earlier; None if none."""
    drawn = replay.samples.at(replay.samples.of_kind(INSTEAD) & ~replay.samples.showing(replay.concept.excluded_class_sets))
    if not drawn.specs:
        return None
    return ForgetSet(drawn.images, [spec.in_place_of for spec in drawn.specs], [spec.prompt for spec in drawn.specs])


class BatchStream:
    """Endless batches, the same for the same recipe; reordering the random draws in `__iter__` changes what every seed gives.

    Forget images are noised to timesteps of the recipe's window, and so are all replayed images but a share `ANYWHERE_SHARE`.

    Args:
        task: the model, the concept to forget and the recipe.
        replay: images that the frozen model drew.
        learner: the model being changed; frozen: the model as it was.
        posterior: mu* and sigma*^2; None where neither method nor optimizer needs them.

    Raises:
        UserError: if there are too few forget images, or no images to keep.
    """

    def __init__(self, task: Task, replay: Replay, learner: Model, frozen: Model, posterior: Posterior | None) -> None:
        self.recipe, self.learner, self.frozen, self.posterior = task.recipe, learner, frozen, posterior
        self.images = forget_images(task, replay)
        self.kept = replay.samples.at(replay.kept)
        if not len(self.kept.images):
            raise UserError(
                f"Among {self.recipe.replay} images the judge saw none to keep; draw more (replay), or forget less."
            )
        self.forget_states, self.kept_states = frozen.encode(self.images.of_concept.images), frozen.encode(self.kept.images)
        if self.images.from_neutral:
            self.forget_states = torch.cat([self.forget_states, frozen.encode(self.images.from_neutral.images)])
        named = task.concept.meanings(task.concept.forget) if isinstance(task.concept, ClassConcept) else []
        self.forgotten = tuple(name for thing in named for name in thing.values())
        self.random = torch.Generator().manual_seed(self.recipe.seed)
        self.method_random = torch.Generator().manual_seed(self.recipe.seed + METHOD_SEED)

    def count_images(self, method: Method) -> dict[str, int]:
        """Number of images of each kind that a method sees: real ones, and ones that the frozen model drew."""
        images, forget = self.images, method.uses_forget_images
        return {
            "forget_real": images.real if forget else 0,
            "forget_drawn": len(images.of_concept.images) - images.real if forget else 0,
            "neutral_drawn": len(images.from_neutral.images) if forget and images.from_neutral else 0,
            "retain_drawn": len(self.kept.images) if method.uses_retain_set else 0,
        }

    def __iter__(self) -> Iterator[Batch]:
        recipe, learner, random, size = self.recipe, self.learner, self.random, (self.recipe.batch_size,)
        weights, parameters = timestep_weights(recipe, learner), learner.trained
        first = len(self.images.of_concept.images)
        while True:
            # Stratified over the window: every batch covers all of it, so that steps vary less.
            places = (torch.arange(*size) + torch.rand((2, *size), generator=random)) / size[0]
            # In float32 a place may round to 1, which lies beyond the window.
            inside = (recipe.t_min + (places * (recipe.t_max + 1 - recipe.t_min)).long()).clamp(max=recipe.t_max)
            anywhere = torch.randint(len(weights), size, generator=random)
            pick = torch.rand(size, generator=random) < ANYWHERE_SHARE
            rows = torch.randint(first, size, generator=random)
            if self.images.from_neutral:
                others = torch.randint(first, len(self.forget_states), size, generator=random)
                rows = torch.where(torch.rand(size, generator=random) < NEUTRAL_SHARE, others, rows)
            forget = self.add_noise(self.forget_states, inside[0], rows)
            kept_rows = torch.randint(len(self.kept_states), size, generator=random)
            replay = self.add_noise(self.kept_states, torch.where(pick, anywhere, inside[1]), kept_rows)
            if learner.takes_prompts:
                self.add_prompts(forget, rows, replay, kept_rows)
            else:
                _, forget.noise = losses.noised_set(forget.states, learner.alpha_bar[forget.t], self.forget_states)
            yield Batch(
                learner, self.frozen, parameters, self.posterior, forget, weights[forget.t], replay, self.forget_states,
                self.kept_states, recipe.gamma, recipe.reach, (recipe.t_min, recipe.t_max), recipe.how, self.method_random,
                self.forgotten,
            )  # fmt: skip

    def add_noise(self, states: Tensor, t: Tensor, rows: Tensor) -> NoisyImages:
        """States (m, c, h, w), by row numbers (n,), noised to timesteps t (n,)."""
        learner = self.learner
        noise = torch.randn((len(rows), *learner.shape), generator=self.random).to(learner.device)
        t = t.to(learner.device)
        noisy = losses.noised(states[rows.to(learner.device)], noise, learner.alpha_bar[t])
        return NoisyImages(noisy, t, noise, learner.conditions([None] * len(rows)))

    def add_prompts(self, forget: NoisyImages, rows: Tensor, replay: NoisyImages, kept_rows: Tensor) -> None:
        """Set the conditions of a batch for a model with prompts."""
        size, images, conditions = (len(rows),), self.images.all, self.frozen.conditions
        forget.from_neutral = (rows >= len(self.images.of_concept.images)).to(self.learner.device)
        forget.caption = conditions([images.captions[row] for row in rows.tolist()])
        forget.neutral = conditions([images.neutral[row] for row in rows.tolist()])
        forget.captioned = (torch.rand(size, generator=self.random) >= UNCAPTIONED_SHARE).to(self.learner.device)
        forget.condition = forget.caption.where(forget.captioned, forget.neutral)
        bare = (torch.rand(size, generator=self.random) < UNPROMPTED_SHARE).tolist()
        replay.condition = conditions(
            [None if none else self.kept.specs[row].prompt for row, none in zip(kept_rows.tolist(), bare, strict=True)]
        )


def timestep_weights(recipe: Recipe, model: Model) -> Tensor:
    """C_t for t = 0 … T-1, (T,): 1 inside the recipe's window, 0 outside."""
    weights = torch.zeros(len(model.alpha_bar), device=model.device)
    weights[recipe.t_min : recipe.t_max + 1] = 1
    return weights

"""P(forget | x_t, t) from the diffusion network's own features, and what Bayes' rule makes of it.

For photographs, pixel distances do not tell a cat from a dog, but the network that draws them has to know. A logistic
regression on its features is the classifier: one for all classes that ships with the model, or one that is learned in the run
from noised images. Dhariwal & Nichol (2021) guide sampling by the gradient of such a classifier; here it points away from a
class, and becomes the target of the training.
"""

import json
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vdu.errors import UserError
from vdu.events import Clock, Progress
from vdu.losses import noised
from vdu.models import Model
from vdu.threads import map_side_by_side, worker_count

SHIPPED = "noised_classifier.safetensors"  # in a model's folder; its metadata name the classes
PARTS = ("mean", "scale", "weights", "bias", "shares")  # of this file
LESSONS, LESSON = 2048, 64  # noised images to learn from, half of them of the concept; images per batch
FIRST, LAST = 20, 980  # timesteps of the images to learn from, per 1,000 of the schedule: beyond them nothing can be learned
PLACES = 3  # timesteps with a regression of their own, where it is learned in the run
STRENGTH = 1e-3  # inverse strength of the penalty on the squared weights
NEAREST = 0.3  # temperature of the rest, see `NoisedClassifier.contrast`; at 1 the contrast is the log-odds
LONGEST = 0.5  # length of a shift at most, in norms of the predicted noise


@dataclass(frozen=True)
class NoisedClassifier:
    """A multinomial regression on pooled features of some blocks of a frozen network.

    Attributes:
        mean, scale: of the features, (k,).
        weights, bias: of each class at each of p timesteps, evenly from 0 to T: (p, classes, k) and (p, classes); between two
            of them they are interpolated.
        concept: which classes the concept consists of, bool (classes,).
        share: share of the concept among the images that it was learned from.
    """

    features: "PooledFeatures"
    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor
    concept: Tensor
    share: float = 0.5

    def scores(self, features: Tensor, t: Tensor) -> Tensor:
        """Logarithms of the probabilities of all classes, up to a constant, (n, classes), from features (n, k) at t (n,)."""
        return interpolated(self.weights, self.bias, (features - self.mean) / self.scale, t / (self.features.timesteps - 1))

    def log_odds(self, features: Tensor, t: Tensor) -> Tensor:
        """Log-odds (n,) of the concept against the rest, both equally frequent, from features (n, k) at timesteps t (n,)."""
        scores = self.scores(features, t)
        odds = scores[:, self.concept].logsumexp(1) - scores[:, ~self.concept].logsumexp(1)
        return odds - torch.logit(torch.tensor(self.share))

    def contrast(self, features: Tensor, t: Tensor) -> Tensor:
        """Log-odds (n,) of the concept against the most similar of the rest, up to a constant; features and t as above.

        The slope of the plain log-odds leads to the rest as a whole, and so to what is least like the concept: from cats to
        cars. The rest counts here as what is most likely of it, the more strictly the lower `NEAREST` is.
        """
        scores = self.scores(features, t)
        rest = (scores[:, ~self.concept] / NEAREST).logsumexp(1) * NEAREST
        return scores[:, self.concept].logsumexp(1) - rest

    def shift(self, states: Tensor, t: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """The predicted noise, and what to add to it to get the prediction of a model that has never seen the concept.

        With score functions for noises, epsilon = -sigma grad log p(x_t), Bayes' rule p_r = p (1 - P) / (1 - prior) gives
        epsilon_r = epsilon - sigma grad log (1 - P) = epsilon + sigma P grad(log-odds). Here the slope is that of `contrast`.

        Args:
            states: x_t, (n, c, h, w); t: timesteps, (n,).
            gamma: weight of stability, in [0, 1]: the prior odds of the concept are (1 - gamma) / gamma.

        Returns:
            epsilon and the shift, both (n, c, h, w); the shift is at most `LONGEST` times as long as epsilon.
        """
        with torch.enable_grad():
            inputs = states.detach().requires_grad_()
            noise, features = self.features(inputs, t)
            odds = self.log_odds(features, t) - torch.logit(torch.tensor(gamma))
            (slope,) = torch.autograd.grad(self.contrast(features, t).sum(), inputs)
        noise = noise.detach()
        sigma = (1 - self.features.model.alpha_bar[t]).sqrt()
        shift = (sigma * odds.detach().sigmoid()).view(-1, 1, 1, 1) * slope
        longest = LONGEST * noise.flatten(1).norm(dim=1) / shift.flatten(1).norm(dim=1).clamp(min=1e-12)
        return noise, shift * longest.clamp(max=1).view(-1, 1, 1, 1)


class PooledFeatures:
    """Features (n, k) of noisy images: mean, maximum and spread over the pixels, of blocks around the network's middle.

    Args:
        model: a model without prompts; its network gets hooks.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.timesteps = model, len(model.alpha_bar)
        self.seen: dict[int, list[Tensor]] = {}  # by thread: several may use the network at once
        network = model.unet
        for block in filter(None, (network.down_blocks[-1], network.mid_block, *network.up_blocks[:2])):
            block.register_forward_hook(self.note)

    def note(self, block: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        """Keep what a block gives, in a call of this object."""
        found = self.seen.get(threading.get_ident())
        if found is not None:
            found.append((output if torch.is_tensor(output) else output[0]).float())

    def __call__(self, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted noise (n, c, h, w) and the features (n, k) of states (n, c, h, w) at timesteps (n,)."""
        found = self.seen[threading.get_ident()] = []
        try:
            noise = self.model.predict_noise(states, t, self.model.conditions([None] * len(states)))
        finally:
            del self.seen[threading.get_ident()]
        pooled = [pool for block in found for pool in (block.mean((2, 3)), block.amax((2, 3)), spread(block))]
        return noise, torch.cat(pooled, dim=1)


def spread(block: Tensor) -> Tensor:
    """Standard deviation over the pixels of (n, c, h, w), (n, c); 0 for a single pixel."""
    return block.std((2, 3), correction=min(1, block[0, 0].numel() - 1))


def interpolated(weights: Tensor, bias: Tensor, features: Tensor, place: Tensor) -> Tensor:
    """Scores (n, classes) of standardised features (n, k) at places (n,) in [0, 1], see `NoisedClassifier`."""
    places, classes = bias.shape
    near = nearness(place, places)
    return torch.einsum("np,npc->nc", near, (features @ weights.flatten(0, 1).T).view(-1, places, classes)) + near @ bias


def nearness(place: Tensor, places: int) -> Tensor:
    """How near each place (n,) in [0, 1] is to each of some even ones: (n, places), at least 0 and 1 in sum."""
    distance = place.float().unsqueeze(1) * (places - 1) - torch.arange(places, device=place.device)
    return (1 - distance.abs()).clamp(min=0)


def shipped(model: Model, names: Sequence[str]) -> NoisedClassifier | None:
    """The classifier in the model's folder, for a concept of these classes; None if there is none, or it lacks one of them.

    Args:
        model: the frozen model, without prompts.

    Raises:
        UserError: if the file cannot be read, or belongs to another network.
    """
    path = model.folder / SHIPPED if model.folder else None
    if not path or not path.is_file() or not names:
        return None
    try:
        with safe_open(path, framework="pt", device=model.device) as file:
            classes, parts = (
                json.loads((file.metadata() or {})["classes"]),
                {key: file.get_tensor(key).float() for key in PARTS},
            )
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as a classifier of noised images; delete it.") from error
    if not set(names) <= set(classes):
        return None
    features, (places, count) = PooledFeatures(model), (len(parts["bias"]), len(classes))
    with torch.no_grad():
        width = features(torch.zeros(1, *model.shape, device=model.device), torch.zeros(1).long().to(model.device))[1].shape[1]
    shapes = {
        "mean": (width,),
        "scale": (width,),
        "weights": (places, count, width),
        "bias": (places, count),
        "shares": (count,),
    }
    if {key: tuple(part.shape) for key, part in parts.items()} != shapes:
        raise UserError(f"The classifier of noised images in '{path}' belongs to another network; delete it.")
    concept = torch.tensor([name in names for name in classes], device=model.device)
    return NoisedClassifier(features, *(parts[name] for name in PARTS[:4]), concept, parts["shares"][concept].sum().item())


def learn(model: Model, forget: Tensor, kept: Tensor, random: torch.Generator) -> Generator[Progress, None, NoisedClassifier]:
    """Learn to tell noised images of the concept from others.

    Args:
        model: the frozen model, without prompts.
        forget, kept: states of both, (m, c, h, w).
        random: for the choice of images, their mirror images, timesteps and noise.
    """
    features, clock = PooledFeatures(model), Clock("prepare", LESSONS)
    workers, last = worker_count(model.device), len(model.alpha_bar) - 1

    def lesson() -> tuple[Tensor, Tensor]:
        half = LESSON // 2
        chosen = [part[torch.randint(len(part), (half,), generator=random).to(part.device)] for part in (forget, kept)]
        clean = torch.cat(chosen)
        mirrored = torch.rand((LESSON, 1, 1, 1), generator=random).to(clean.device) < 0.5
        clean = torch.where(mirrored, clean.flip(3), clean)
        t = torch.randint(FIRST * last // 1000, LAST * last // 1000, (LESSON,), generator=random).to(clean.device)
        noise = torch.randn(clean.shape, generator=random).to(clean.device)
        return noised(clean, noise, model.alpha_bar[t]), t

    @torch.no_grad()
    def seen(lesson: tuple[Tensor, Tensor]) -> Tensor:
        return features(*lesson)[1]

    rows, times = [], []
    while len(rows) * LESSON < LESSONS:
        lessons = [lesson() for _ in range(2)]
        rows += map_side_by_side(seen, lessons, workers)
        times += [t for _, t in lessons]
        yield clock.progress(len(rows) * LESSON)
    of_concept = (torch.arange(LESSON) < LESSON // 2).repeat(len(rows))
    return fitted(features, torch.cat(rows), torch.cat(times), of_concept)


def fitted(features: PooledFeatures, rows: Tensor, t: Tensor, of_concept: Tensor) -> NoisedClassifier:
    """The classifier by the features (n, k), timesteps (n,) and labels, bool (n,), of noised images, half of the concept."""
    from sklearn.linear_model import LogisticRegression  # takes seconds to import

    from vdu.judges.fitted import one_thread

    mean, scale = rows.mean(0), rows.std(0).clamp(min=1e-6)
    near = nearness(t / (features.timesteps - 1), PLACES)
    width = rows.shape[1]
    design = (near.unsqueeze(2) * ((rows - mean) / scale).unsqueeze(1)).flatten(1) / width**0.5
    with one_thread():
        regression = LogisticRegression(C=STRENGTH * width, max_iter=300, fit_intercept=False)
        regression.fit(torch.cat([design, near], dim=1).cpu().numpy(), of_concept.numpy())
    found = torch.from_numpy(regression.coef_[0]).to(rows)
    weights, bias = found[: PLACES * width].view(PLACES, width) / width**0.5, found[PLACES * width :]
    against = [torch.stack([torch.zeros_like(part), part], dim=1) for part in (weights, bias)]  # of two scores, one is free
    return NoisedClassifier(features, mean, scale, *against, torch.tensor([False, True], device=rows.device))

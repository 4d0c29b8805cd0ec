"""How well can a linear probe still read the concept in the middle of the network?"""

import copy
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from vdu.attacks.base import (
    ORIGINAL,
    UNLEARNED,
    Attack,
    Attacked,
    Meter,
    Result,
    Row,
    at_model,
    no_pictures,
    pictures_of_it,
    pictures_of_others,
)
from vdu.data.forget_set import RealSheets
from vdu.events import Progress
from vdu.intervals import pairs_interval
from vdu.judges.fitted import cross_validated_odds
from vdu.losses import noised
from vdu.models import Model

TIMES = (100, 300, 500, 700)  # timesteps to which pictures are noised
PICTURES = 150  # of the concept at most, and as many of other things
BATCH = 50
DIGITS = 6  # decimals of the odds that count: networks that say nothing differ beyond them, by rounding
UNTRAINED = "untrained"  # a network of the same shape with random weights: what pictures show without any training


def misfit(attacked: Attacked) -> str:
    """Pictures of other things are needed, from the same source as those of the concept."""
    if not isinstance(attacked.task.source, RealSheets):
        return f"The run has no pictures of other things than {attacked.concept} to compare with."
    if getattr(attacked.task.model.unet, "mid_block", None) is None:
        return f"The network of {attacked.task.recipe.model} has no middle block to read."
    return no_pictures(attacked)


class MiddleReached(Exception):
    """The middle block is computed; what comes after it in the network is not needed."""


@torch.no_grad()
def middle(model: Model, states: Tensor, t: int, seed: int) -> Tensor:
    """Activations of the middle block, averaged over its places, for clean states (n, c, h, w) noised to t: (n, k), float64.

    Models with prompts are given none.
    """
    found: list[Tensor] = []

    def keep(block: torch.nn.Module, given: tuple, out: Tensor) -> None:
        found.append(out.float().mean(dim=(2, 3)))
        raise MiddleReached

    handle = model.unet.mid_block.register_forward_hook(keep)
    noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(seed)).to(model.device)
    times = torch.full((len(states),), t, device=model.device)
    noisy = noised(states, noise, model.alpha_bar[t])
    try:
        with suppress(MiddleReached):
            model.predict(noisy, times, model.conditions([None] * len(states)))
    finally:
        handle.remove()
    return found[0].cpu().double()


def untrained(model: Model, seed: int) -> Model:
    """A copy of a model with the initial random weights of each layer."""
    network = replace(model, unet=copy.deepcopy(model.unet))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in network.unet.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return network


def carry_out(attacked: Attacked) -> Generator[Progress, None, Result]:
    """Fit a probe per model and timestep, and count how often it ranks a picture of the concept above another one.

    The ranks are those of a cross-validation, by the regression of `judges.fitted`.
    """
    its, others = (
        (yield from pictures_of_it(attacked.task, PICTURES)).images,
        pictures_of_others(attacked.task, PICTURES).images,
    )
    count = min(PICTURES, len(its), len(others))
    pictures, of_it = torch.cat([its[:count], others[:count]]), torch.arange(2 * count) < count
    models = attacked.models | {UNTRAINED: untrained(attacked.models[ORIGINAL], attacked.seed)}
    meter, rows = Meter(len(models) * len(TIMES) * 2 * count), []
    for name, model in models.items():
        states = model.encode(pictures)
        for t in TIMES:
            parts = []
            for number, part in enumerate(states.split(BATCH)):
                parts.append(middle(model, part, t, attacked.seed + number))
                yield meter.add(len(part))
            value = ranked_above(cross_validated_odds(torch.cat(parts), of_it, attacked.seed), of_it)
            rows.append(Row(name, "", t, value, pairs_interval(value, count, count), 2 * count))
    return Result(rows, [], in_words(attacked, rows))


def ranked_above(odds: Tensor, of_it: Tensor) -> float:
    """The share of pairs in which the picture of the concept has the higher odds (n,); ties count half. It is the AUC."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(of_it, odds.double().mul(10**DIGITS).round()))


def in_words(attacked: Attacked, rows: list[Row]) -> str:
    """How well each model is read at the timestep at which training has added most to what an untrained network shows."""
    at = {(row.model, row.at): row for row in rows}
    t = max(TIMES, key=lambda t: at[ORIGINAL, t].value - at[UNTRAINED, t].value)
    well = "as well as" if at[UNLEARNED, t].ci95[1] >= at[ORIGINAL, t].value else "less well than"
    parts = [f"{at[name, t].words()} in {at_model(name)}" for name in attacked.models]
    return (
        f"In the middle of the unlearned network {attacked.concept} can be read {well} in the original: a linear probe "
        f"(t = {t}) ranks its pictures above others in {', '.join(parts)} and "
        f"{at[UNTRAINED, t].words()} in an untrained one; 50 % is chance."
    )


ATTACK = Attack(
    title="Read in the network",
    question="A linear probe looks at the middle of each network, not at what it draws. Where it tells the concept from other "
    "things as well as in the original, the network still knows it.",
    over=("t", "t to which the pictures are noised"),
    figure=("auc", "ranked rightly, %"),
    settings={"timesteps": TIMES, "pictures": PICTURES},
    misfit=misfit,
    carry_out=carry_out,
)

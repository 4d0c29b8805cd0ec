"""UCE, Unified Concept Editing (Gandikota et al., WACV 2024, arXiv 2308.14761): the cross-attention, solved in closed form.

Keys and values of the cross-attention are linear in the embeddings of a prompt's tokens. So prompts for the concept can be
given the keys and values of prompts for something else by least squares, without a gradient and without an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vdu.errors import UserError
from vdu.methods.base import Method, Prompts, Solution, Terms
from vdu.models import FULL_SIZE, PARAMETERS, SMALL

PRIOR = 1e-3  # weight on staying as it is in all directions, as a share of the mean weight on a direction of the embeddings
TINY = 1e-12


def edit_embeddings(prompts: Prompts) -> Solution:
    """Multiply every key and value matrix by one matrix M, the minimum of a sum of squares.

    With c for a token's embedding in a prompt for the concept, c* for the embedding that takes its place and k for one in a
    prompt to keep, the sum is (1 - gamma) E|M c - c*|^2 + gamma E|M k - k|^2 + lambda |M - I|^2. For the minimum,

        M - I = (1 - gamma) E[(c* - c) c^T] ((1 - gamma) E[c c^T] + gamma E[k k^T] + lambda I)^-1,

    the formula of the paper, in which every W is multiplied by the same M. `reach` is a factor on M - I. If several things can
    take the concept's place, the one is taken to which a linear map leads best: the first two terms of the sum, divided by
    E|c* - c|^2, are smallest. The terms shown are E|M c - c|^2 (plasticity) and E|M k - k|^2 (stability).

    Raises:
        UserError: if the recipe trains no keys and values of the cross-attention.
    """
    model, gamma = prompts.frozen, prompts.gamma
    edited = {name: weight for name, weight in model.trained.items() if PARAMETERS["keys-values"](name)}
    if not edited:
        raise UserError("This method changes how the prompt is read; set the parameters to keys-values or to all.")
    source, targets, kept = embeddings(prompts)
    moments = (1 - gamma) * source.T @ source / len(source) + gamma * kept.T @ kept / len(kept)
    prior = PRIOR * moments.diagonal().mean() * torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    solutions = []
    for target in targets.values():
        wanted = (1 - gamma) * (target - source).T @ source / len(source)
        change = torch.linalg.solve(moments + prior, wanted, left=False)
        fit = (1 - gamma) * size(source @ change.T - (target - source)) + gamma * size(kept @ change.T)
        solutions.append(((fit / size(target - source).clamp(min=TINY)).item(), target - source, change))
    _, wanted, change = min(solutions, key=lambda solution: solution[0])
    change = prompts.reach * change
    moved, stability = source @ change.T, size(kept @ change.T)
    weights = {name: (weight.double() + weight.double() @ change).to(weight.dtype) for name, weight in edited.items()}
    return Solution(Terms(size(moved), stability, (1 - gamma) * size(moved - wanted) + gamma * stability), weights)


def size(rows: Tensor) -> Tensor:
    """The mean squared length of rows (n, width)."""
    return rows.square().sum(1).mean()


def embeddings(prompts: Prompts) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The tokens of the prompts for the concept, what can take their place, and the tokens to keep, all float64.

    Returns:
        c of `edit_embeddings`, (n, width); name of a thing that can take the concept's place -> c*, (n, width); k, (m, width).
        A prompt without a rewriting for that thing takes its first one.
    """
    model = prompts.frozen
    asked = [text for prompt, instead in prompts.rewritings for text in (prompt, *instead.values())]
    texts = [*dict.fromkeys([*asked, *prompts.keep])]
    tokens = dict(zip(texts, model.conditions(texts)["tokens"].double(), strict=True))  # each (tokens, width)
    read = {text: model.tokens_of(text, model.tokenizer) for text in texts}
    targets: dict[str, list[Tensor]] = {name: [] for _, instead in prompts.rewritings for name in instead}
    for name, found in targets.items():
        for prompt, instead in prompts.rewritings:
            other = instead.get(name, next(iter(instead.values())))
            found.append(tokens[other][aligned_places(read[prompt], read[other], len(tokens[other]))])
    source = torch.cat([tokens[prompt] for prompt, _ in prompts.rewritings])
    return (
        source,
        {name: torch.cat(found) for name, found in targets.items()},
        torch.cat([tokens[text] for text in prompts.keep]),
    )


def common_ends(tokens: Sequence[int], others: Sequence[int]) -> tuple[int, int]:
    """How many tokens two prompts have in common at the start, and how many of all others at the end."""
    shorter = min(len(tokens), len(others))
    head = next((place for place in range(shorter) if tokens[place] != others[place]), shorter)
    return head, next((back for back in range(shorter - head) if tokens[-1 - back] != others[-1 - back]), shorter - head)


def aligned_places(tokens: list[int], others: list[int], length: int) -> list[int]:
    """For each place in a prompt padded to `length`, the place in another one that corresponds to it.

    A text encoder is causal: tokens before the first difference have the same embeddings in both prompts, and all tokens after
    it carry what was replaced. So both ends are matched with each other, and the padding with the padding, even where the two
    prompts differ in length. Words that were left out correspond to the token that now follows.
    """
    head, tail = common_ends(tokens, others)
    replaced, by = len(tokens) - head - tail, len(others) - head - tail
    middle = [head + place * by // replaced for place in range(replaced)]
    after = range(len(others) - tail, len(others) + length)
    return [min(place, length - 1) for place in [*range(head), *middle, *after][:length]]


METHOD = Method(
    title="UCE (2308.14761): the words mean something else, in closed form",
    paper="2308.14761",
    solve=edit_embeddings,
    uses_forget_images=False,
    experimental=True,
    defaults={
        SMALL: {"gamma": 0.5, "reach": 1.0, "optimizer": "closed-form", "step_size": 1e-3, "steps": 1, "replay": 144},
        FULL_SIZE: {"gamma": 0.5, "reach": 1.0, "optimizer": "closed-form", "step_size": 1e-3, "steps": 1},
    },
)

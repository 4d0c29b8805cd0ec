"""UCE, Unified Concept Editing (Gandikota et al., WACV 2024, arXiv 2308.14761): the cross-attention, solved in closed form.

Keys and values of the cross-attention are linear in the embeddings of a prompt's tokens. So prompts for the concept can be
given the keys and values of prompts for something else by least squares, without a gradient and without an image.
"""

import torch
from torch import Tensor

from vdu.errors import UserError
from vdu.methods.base import Method, Prompts, Solution, Terms
from vdu.models import FULL_SIZE, SMALL

READS_PROMPT = ("attn2.to_k.weight", "attn2.to_v.weight")  # ends of the names of the weights that read the prompt
PRIOR = 1e-3  # weight on staying as it is in all directions, as a share of the mean weight on a direction of the embeddings


def edit_embeddings(prompts: Prompts) -> Solution:
    """Multiply every key and value matrix by one matrix M, the minimum of a sum of squares.

    With c for a token's embedding in a prompt for the concept, c* for the embedding that takes its place and k for one in a
    prompt to keep, the sum is (1 - gamma) E|M c - c*|^2 + gamma E|M k - k|^2 + lambda |M - I|^2. For the minimum,

        M - I = (1 - gamma) E[(c* - c) c^T] ((1 - gamma) E[c c^T] + gamma E[k k^T] + lambda I)^-1,

    the formula of the paper, in which every W is multiplied by the same M. `reach` is a factor on M - I. The terms shown are
    E|M c - c|^2 (plasticity) and E|M k - k|^2 (stability).

    Raises:
        UserError: if the recipe trains no weights of the cross-attention.
    """
    model = prompts.frozen
    edited = {name: weight for name, weight in model.trained.items() if name.endswith(READS_PROMPT)}
    if not edited:
        raise UserError("This method changes how the prompt is read; set the parameters to cross-attention, or to all.")
    source, target, kept = embeddings(prompts)
    width, gamma = source.shape[1], prompts.gamma
    moments = (1 - gamma) * source.T @ source / len(source) + gamma * kept.T @ kept / len(kept)
    prior = PRIOR * moments.trace() / width * torch.eye(width, dtype=moments.dtype, device=moments.device)
    wanted = (1 - gamma) * (target - source).T @ source / len(source)
    change = prompts.reach * torch.linalg.solve(moments + prior, wanted, left=False)
    moved, kept_moved = (part @ change.T for part in (source, kept))
    missed, away, stability = (part.square().sum(1).mean() for part in (moved - (target - source), moved, kept_moved))
    weights = {name: (weight.double() + weight.double() @ change).to(weight.dtype) for name, weight in edited.items()}
    return Solution(Terms(away, stability, (1 - gamma) * missed + gamma * stability), weights)


def embeddings(prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """c, c* and k of `edit_embeddings`, float64: (n, width), (n, width) and (m, width).

    If several prompts can take a prompt's place, the target of each of its tokens is the mean over them.
    """
    model = prompts.frozen
    texts = [*dict.fromkeys([*(text for prompt, instead in prompts.rewritings for text in (prompt, *instead)), *prompts.keep])]
    tokens = dict(zip(texts, model.conditions(texts)["tokens"].double(), strict=True))  # each (tokens, width)
    read = {text: model.tokens_of(text, model.tokenizer) for text in texts}
    sources, targets = [], []
    for prompt, instead in prompts.rewritings:
        sources.append(tokens[prompt])
        aligned = [tokens[other][aligned_places(read[prompt], read[other], len(tokens[other]))] for other in instead]
        targets.append(torch.stack(aligned).mean(0))
    return torch.cat(sources), torch.cat(targets), torch.cat([tokens[text] for text in prompts.keep])


def aligned_places(tokens: list[int], others: list[int], length: int) -> list[int]:
    """For each place in a prompt padded to `length`, the place in another one that corresponds to it.

    A text encoder is causal: tokens before the first difference have the same embeddings in both prompts, and all tokens after
    it carry what was replaced. So both ends are matched with each other, and the padding with the padding, even where the two
    prompts differ in length. Words that were left out correspond to the token that now follows.
    """
    shorter = min(len(tokens), len(others))
    head = next((place for place in range(shorter) if tokens[place] != others[place]), shorter)
    tail = next((back for back in range(shorter - head) if tokens[-1 - back] != others[-1 - back]), shorter - head)
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

"""The classifier of noised images that ships with a model of photographs: for all its classes, from its own samples alone."""

import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vdu.judges.classifier import Classifier
from vdu.losses import noised
from vdu.models import Model
from vdu.noised_classifier import FIRST, LAST, SHIPPED, PooledFeatures, interpolated
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.threads import map_side_by_side, worker_count

IMAGES, NOISINGS, BATCH = 9000, 8, 60  # own samples; how often each is noised anew; images per evaluation
PLACES, SEED = 6, 1  # timesteps with weights of their own; seed of the samples and their noise
HELD_OUT = 5  # every so many-th image is kept for the check
EPOCHS, ROWS, RATE, DECAY = 12, 256, 2e-3, 0.1  # of AdamW
RANGES = ((20, 200), (200, 400), (400, 600), (600, 800), (800, 980))  # timesteps of the check, per 1,000


def learn_all(model: Model, judge: Classifier, out: Path) -> dict[str, float]:
    """Learn to tell the classes of a model's noised samples by the network's features; writes `SHIPPED` to a folder.

    The labels are the judge's probabilities for the samples without noise.

    Returns:
        the area under the ROC curve of one class against the rest, on held-out samples, averaged over the classes, by range
        of timesteps ("20-200").
    """
    images = run_to_end(sample(model, image_seeds(SEED, IMAGES), HowToSample()))
    labels = judge.judge(images)[0].float()
    rows, t, which = noised_features(model, model.encode(images))
    held_out = which % HELD_OUT == 0
    mean, scale = rows[~held_out].mean(0), rows[~held_out].std(0).clamp(min=1e-6)
    rows, place = (rows - mean) / scale, t / (len(model.alpha_bar) - 1)
    weights, bias = fit(rows[~held_out], place[~held_out], labels[which[~held_out]])
    parts = {"mean": mean, "scale": scale, "weights": weights.half(), "bias": bias, "shares": labels.mean(0)}
    save_file({name: part.contiguous() for name, part in parts.items()}, out / SHIPPED, {"classes": json.dumps(judge.classes)})
    scores = interpolated(weights, bias, rows[held_out], place[held_out])
    return areas(scores, labels[which[held_out]], 1000 * place[held_out])


def noised_features(model: Model, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (n, k), timesteps (n,) and image numbers (n,) of states (m, c, h, w), each noised `NOISINGS` times."""
    features, random, last = PooledFeatures(model), torch.Generator().manual_seed(SEED), len(model.alpha_bar) - 1
    started, found, times, numbers = time.monotonic(), [], [], []

    @torch.no_grad()
    def seen(batch: tuple[Tensor, Tensor]) -> Tensor:
        return features(*batch)[1]

    for turn in range(NOISINGS):
        batches = []
        for chosen in torch.randperm(len(clean), generator=random).split(BATCH):
            state = torch.where(
                torch.rand((len(chosen), 1, 1, 1), generator=random) < 0.5, clean[chosen].flip(3), clean[chosen]
            )
            t = torch.randint(FIRST * last // 1000, LAST * last // 1000, (len(chosen),), generator=random)
            noise = torch.randn(state.shape, generator=random)
            batches.append((noised(state, noise, model.alpha_bar[t]), t))
            times.append(t)
            numbers.append(chosen)
        found += map_side_by_side(seen, batches, worker_count(model.device))
        print(f"noised {turn + 1}/{NOISINGS}  {time.monotonic() - started:.0f} s", flush=True)
    return torch.cat(found), torch.cat(times), torch.cat(numbers)


def fit(rows: Tensor, place: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (p, classes, k) and bias (p, classes) of `interpolated`, from standardised features (n, k), labels (n, classes).

    The loss is the cross-entropy with labels that are probabilities.
    """
    random = torch.Generator().manual_seed(SEED)
    weights = torch.zeros((PLACES, labels.shape[1], rows.shape[1]), requires_grad=True)
    bias = torch.zeros((PLACES, labels.shape[1]), requires_grad=True)
    optimizer = torch.optim.AdamW([weights, bias], RATE / rows.shape[1] ** 0.5, weight_decay=DECAY)
    steps = EPOCHS * math.ceil(len(rows) / ROWS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE / rows.shape[1] ** 0.5, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (ROWS,), generator=random)
        scores = interpolated(weights, bias, rows[chosen], place[chosen])
        loss = -(labels[chosen] * scores.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return weights.detach(), bias.detach()


def areas(scores: Tensor, labels: Tensor, t: Tensor) -> dict[str, float]:
    """What `learn_all` returns, from scores and labels (n, classes) at timesteps (n,); a class without a label is left out."""
    from sklearn.metrics import roc_auc_score  # takes a second to import

    found = {}
    for first, last in RANGES:
        inside = (t >= first) & (t < last)
        shown, odds = labels[inside].argmax(1), scores[inside].log_softmax(1)
        present = [number for number in range(labels.shape[1]) if 0 < int((shown == number).sum()) < len(shown)]
        each = [roc_auc_score((shown == number).numpy(), odds[:, number].numpy()) for number in present]
        found[f"{first}-{last}"] = sum(each) / len(each) if each else float("nan")
    return found

"""Train the classifier that judges samples of drawings."""

import math
import time

import torch
import torch.nn.functional as F

from vdu.judges.classifier import Classifier
from vdu.models import autocast


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random small rotations (±12°), zooms (±10 %) and shifts (±7 %) of images (n, c, h, w) in [-1, 1]."""
    count = len(images)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, zoom = uniform(math.radians(12)), 1 + uniform(0.10)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([torch.stack([cosine, -sine, uniform(0.14)], 1), torch.stack([sine, cosine, uniform(0.14)], 1)], dim=1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def train_classifier(
    images: torch.Tensor, labels: torch.Tensor, classes: list[str], epochs: int, seed: int = 0, batch_size: int = 128
) -> Classifier:
    """Fit a `Classifier` to uint8 images (n, c, h, w) and labels (n,) with SGD on a one-cycle learning rate."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier(classes, channels=images.shape[1], size=images.shape[2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps, pct_start=0.2)
    started = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order[: len(order) // batch_size * batch_size].split(batch_size):
            batch = augment(images[rows].float() / 127.5 - 1, generator)
            with autocast("cpu"):
                logits, _ = model(batch)
            loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}  loss {loss.item():.4f}  {time.monotonic() - started:.0f} s", flush=True)
    return model.eval()


def accuracy(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of uint8 images (n, c, h, w) whose most probable class is the label."""
    probabilities, _ = model.judge(images)
    return (probabilities.argmax(1) == labels).double().mean().item()

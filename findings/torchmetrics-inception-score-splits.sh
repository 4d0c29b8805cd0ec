#!/usr/bin/env bash
# torchmetrics 1.9.0: the InceptionScore of 100 perfect images of 10 classes is about 6,
# not 10, and changes from call to call.
#
# Expected: exp(mean KL) of images that a judge tells apart with certainty, ten per
#   class, is exactly 10.
# Happens: the default splits=10 shuffles the images with the global generator and
#   scores ten parts of ten images. A part of ten images misses some classes, so its
#   score is the number of classes it holds, about 6 on average. Only splits=1 gives 10.
# Matters: a score from a few hundred images, set beside a published one from 50000,
#   tells how many images there were more than how good they are.
# Instead: pass splits=1 for small sets, and compare only scores from equal numbers of
#   images.
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   splits=1: 10.000
#   splits=10, five calls: 5.952 6.293 6.156 5.530 6.424
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "torchmetrics")))

import torch
from torchmetrics.image.inception import InceptionScore

logits = 50 * torch.nn.functional.one_hot(torch.arange(10).repeat(10)).float()


def score(splits):
    metric = InceptionScore(feature=torch.nn.Identity(), splits=splits)
    metric.update(logits)
    return metric.compute()[0].item()


torch.manual_seed(0)
whole = score(1)
parts = [score(10) for _ in range(5)]
print(f"splits=1: {whole:.3f}")
print("splits=10, five calls:", *(f"{part:.3f}" for part in parts))
assert abs(whole - 10) < 1e-3
assert max(parts) < 8
assert len(set(parts)) > 1
EOF

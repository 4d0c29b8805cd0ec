#!/usr/bin/env bash
# torchmetrics 1.9.0: the "std" of KernelInceptionDistance is not the error of its mean,
# and two calls on the same features give two figures.
#
# Expected: compute() on fixed features is one figure, and the second number it returns
#   shrinks as the sample grows, like a standard error.
# Happens: the subsets are drawn with the global generator, so a second metric on the
#   same features gives another mean. The std is the spread over subsets of subset_size
#   rows: it stays the same from 500 to 8000 rows, while the true spread of the mean
#   over fresh samples shrinks to about a seventh of it.
# Matters: papers print "KID mean ± std" and readers take it for an error bar. It hides
#   real differences between two models, and a repeated evaluation of one model differs
#   in the printed digits.
# Instead: call torch.manual_seed before compute(), and get the error bar from repeated
#   samples.
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   500 rows: std reported 0.0113, spread of the mean 0.0050
#   8000 rows: std reported 0.0119, spread of the mean 0.0016
#   same features twice: -0.00004 and 0.00069
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
from torchmetrics.image.kid import KernelInceptionDistance


def kid(real, fake):
    metric = KernelInceptionDistance(feature=torch.nn.Flatten(), subsets=50, subset_size=200)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return [value.item() for value in metric.compute()]


torch.manual_seed(0)
reported = {}
for rows in (500, 8000):
    runs = [kid(torch.randn(rows, 16), torch.randn(rows, 16)) for _ in range(20)]
    spread = torch.tensor([mean for mean, _ in runs]).std().item()
    reported[rows] = sum(std for _, std in runs) / 20
    print(f"{rows} rows: std reported {reported[rows]:.4f}, spread of the mean {spread:.4f}")
assert 0.7 < reported[500] / reported[8000] < 1.4
assert reported[8000] > 3 * spread

features = torch.randn(1000, 16), torch.randn(1000, 16)
first, second = kid(*features)[0], kid(*features)[0]
print(f"same features twice: {first:.5f} and {second:.5f}")
assert first != second
EOF

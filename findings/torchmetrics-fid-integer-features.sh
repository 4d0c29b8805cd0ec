#!/usr/bin/env bash
# torchmetrics 1.9.0: FrechetInceptionDistance on integer features returns the distance
# modulo 256.
#
# Expected: the distance between two sets of uint8 pixels equals the distance between
#   the same pixels as floats, because the metric adds up in float64.
# Happens: the sum is right, but compute() casts the result to the dtype of the
#   features, so a distance of about 50000 comes back as a uint8 below 256.
# Matters: a pixel-space FID, with a feature module that flattens, is a cheap check for
#   MNIST-like data, and uint8 is what the metric asks for with its own network. The
#   wrapped figure looks plausible.
# Instead: have the feature module return floats, for example x.flatten(1).float().
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   float features: tensor(49805.7227)
#   uint8 features: tensor(141, dtype=torch.uint8)
#   float result modulo 256: 141
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
from torchmetrics.image.fid import FrechetInceptionDistance


class Pixels(torch.nn.Module):
    num_features = 16

    def forward(self, images):
        return images.flatten(1)


def fid(real, fake):
    metric = FrechetInceptionDistance(feature=Pixels())
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute()


torch.manual_seed(0)
real = torch.randint(0, 200, (500, 1, 4, 4), dtype=torch.uint8)
fake = torch.randint(56, 256, (500, 1, 4, 4), dtype=torch.uint8)
right, wrapped = fid(real.float(), fake.float()), fid(real, fake)
print("float features:", right)
print("uint8 features:", wrapped)
print("float result modulo 256:", int(right) % 256)
assert right > 10_000
assert wrapped.dtype == torch.uint8
assert abs(int(wrapped) - int(right) % 256) <= 1
EOF

#!/usr/bin/env bash
# torchmetrics 1.9.0: without data_range, the SSIM of one pair of images depends on the
# other images of the batch.
#
# Expected: SSIM with reduction="none" gives each pair the figure it would have alone.
# Happens: data_range defaults to the largest spread found in the whole batch. A pale
#   pair scores about 0.38 alone and about 0.90 once a full-range pair stands beside it.
# Matters: SSIM between images before and after unlearning tells how much the rest of
#   the model was kept. The figure moves with the batch size and with the order of the
#   images.
# Instead: pass data_range=1.0 for images in [0, 1] (2.0 for [-1, 1], 255.0 for bytes).
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   default: alone 0.380, in a batch 0.899
#   data_range=1.0: alone 0.899, in a batch 0.899
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
from torchmetrics.image import StructuralSimilarityIndexMeasure as SSIM

torch.manual_seed(0)
before = 0.5 + 0.02 * torch.rand(1, 1, 16, 16)
after = before + 0.01 * torch.randn(1, 1, 16, 16)
other = torch.rand(1, 1, 16, 16)
other[..., 0, 0], other[..., 0, 1] = 0, 1
pair = before, after
batch = torch.cat([before, other]), torch.cat([after, other])


def first(images, **options):
    return SSIM(reduction="none", **options)(*images).reshape(-1)[0].item()


alone, beside = first(pair), first(batch)
print(f"default: alone {alone:.3f}, in a batch {beside:.3f}")
fixed = first(pair, data_range=1.0), first(batch, data_range=1.0)
print(f"data_range=1.0: alone {fixed[0]:.3f}, in a batch {fixed[1]:.3f}")
assert beside - alone > 0.2
assert abs(fixed[0] - fixed[1]) < 1e-4
EOF

#!/usr/bin/env bash
# torch 2.13.0: cdist of a row to its own copy is 0 for 25 rows and up to about 0.5 for
# 26.
#
# Expected: the distance between two equal rows is 0, or near float32 rounding, whatever
#   the number of rows.
# Happens: above 25 rows cdist computes |x|^2 + |y|^2 - 2xy by default. For 64 features
#   near 100 the three terms are about 640000, where float32 steps by 0.06, so exact
#   copies get distances of up to 0.5.
# Matters: nearest-neighbour distances decide whether a diffusion model copies its
#   training images, and the k-th neighbour radius of precision and recall is one too. A
#   unit test on 10 rows passes, the run on 1000 rows hides the copies.
# Instead: pass compute_mode="donot_use_mm_for_euclid_dist", or subtract the mean of the
#   features and use float64.
#
# Output seen when this was written:
#   torch 2.13.0+cpu
#   25 rows: largest distance to the own copy 0.000
#   26 rows: largest distance to the own copy 0.500
#   26 rows, donot_use_mm_for_euclid_dist: 0.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch",)))

import torch

torch.manual_seed(0)
features = torch.randn(26, 64) + 100
largest = {}
for rows in (25, 26):
    x = features[:rows]
    largest[rows] = torch.cdist(x, x.clone()).diagonal().max().item()
    print(f"{rows} rows: largest distance to the own copy {largest[rows]:.3f}")
exact = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
print(f"26 rows, donot_use_mm_for_euclid_dist: {exact.diagonal().max():.3f}")
assert largest[25] == 0
assert largest[26] > 0.1
assert exact.diagonal().max() == 0
EOF

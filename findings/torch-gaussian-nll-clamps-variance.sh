#!/usr/bin/env bash
# torch 2.13.0: gaussian_nll_loss replaces any variance below 1e-6 by 1e-6.
#
# Expected: 0.5 * (log var + (x - mean)^2 / var): with x = mean and var = 1e-8 it is
#   -9.21, and an error of one standard deviation adds 0.5.
# Happens: eps=1e-6 is a lower bound on the variance, not a small addition. The loss is
#   -6.91, and an error of one standard deviation adds 0.005, a hundredth.
# Matters: posterior variances of network weights, as in variational unlearning, are
#   often 1e-8 and below. The pull back to the posterior mean is then a hundred times
#   too weak, with no warning.
# Instead: pass a smaller eps, or write the loss with log-variances.
#
# Output seen when this was written:
#   torch 2.13.0+cpu
#   at the mean: -6.9078, formula -9.2103, eps=1e-12 -9.2103
#   one standard deviation away: +0.0050, formula +0.5
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

import math

import torch
from torch.nn.functional import gaussian_nll_loss

variance = torch.tensor([1e-8])
zero, one_sigma = torch.zeros(1), torch.full((1,), 1e-4)
at_mean = gaussian_nll_loss(zero, zero, variance).item()
rise = gaussian_nll_loss(one_sigma, zero, variance).item() - at_mean
fine = gaussian_nll_loss(zero, zero, variance, eps=1e-12).item()
print(f"at the mean: {at_mean:.4f}, formula {0.5 * math.log(1e-8):.4f}, eps=1e-12 {fine:.4f}")
print(f"one standard deviation away: +{rise:.4f}, formula +0.5")
assert abs(at_mean - 0.5 * math.log(1e-6)) < 1e-4
assert abs(rise - 0.005) < 1e-4
assert abs(fine - 0.5 * math.log(1e-8)) < 1e-3
EOF

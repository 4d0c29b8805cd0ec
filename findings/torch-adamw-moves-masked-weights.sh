#!/usr/bin/env bash
# torch 2.13.0: AdamW moves weights whose gradient is masked to zero.
#
# Expected: a weight whose gradient is exactly 0 at every step stays where it is.
# Happens: AdamW's default weight_decay is 0.01, so each step multiplies the weight by 1
#   - lr * 0.01. Without decay, a weight that had one gradient before the mask moves on
#   by its momentum: it goes from 0.9 to about 0.4 over 100 steps at lr=0.1.
# Matters: saliency unlearning (SalUn) and layer freezing multiply gradients by a 0/1
#   mask so that the other weights keep their values. With AdamW, the usual optimiser of
#   diffusion models, they drift.
# Instead: restore the masked weights after each step, or give the optimiser only the
#   parameters that may move, with weight_decay=0 and fresh state.
#
# Output seen when this was written:
#   torch 2.13.0+cpu
#   gradient 0 for 100 steps: 1 -> 0.9048 (0.999^100 = 0.9048)
#   one gradient, then 0 for 100 steps, no decay: 0.9000 -> 0.3995
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

masked = torch.nn.Parameter(torch.ones(1))
optimiser = torch.optim.AdamW([masked], lr=0.1)
for _ in range(100):
    masked.grad = torch.zeros(1)
    optimiser.step()
closed = (1 - 0.1 * 0.01) ** 100
print(f"gradient 0 for 100 steps: 1 -> {masked.item():.4f} (0.999^100 = {closed:.4f})")
assert abs(masked.item() - closed) < 1e-4

moved = torch.nn.Parameter(torch.ones(1))
optimiser = torch.optim.AdamW([moved], lr=0.1, weight_decay=0)
moved.grad = torch.ones(1)
optimiser.step()
start = moved.item()
for _ in range(100):
    moved.grad = torch.zeros(1)
    optimiser.step()
print(f"one gradient, then 0 for 100 steps, no decay: {start:.4f} -> {moved.item():.4f}")
assert start - moved.item() > 0.4
EOF

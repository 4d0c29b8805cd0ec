#!/usr/bin/env bash
# torch 2.13.0: on the CPU, seeds that differ by a multiple of 2**32 give the same noise.
#
# Expected: manual_seed takes a whole number up to 2**64 - 1, so 0 and 2**32 are two
#   seeds, as they are for NumPy.
# Happens: the CPU's generator uses the lower 32 bits. Seeds 5, 2**32 + 5 and 2**40 + 5
#   give the same stream, while initial_seed() still tells them apart.
# Matters: a large offset is the usual way to keep two sets of images apart: "measure
#   from seed, train from seed + 2**32". The sets are then the same images, and the
#   figures are of what the model or judge was fitted on. Hashes as seeds have the same
#   limit.
# Instead: keep seeds below 2**32, and choose offsets such as 2**31 that differ there.
#
# Output seen when this was written:
#   torch 2.13.0+cpu numpy 2.4.6
#   torch, seed 5: starts with 1.8423 0.5189 -1.7119
#   torch, seed 2**32 + 5: starts with 1.8423 0.5189 -1.7119
#   torch, seed 2**40 + 5: starts with 1.8423 0.5189 -1.7119
#   torch, seed 2**31 + 5: starts with 1.5192 -1.6993 -0.4652
#   numpy, seed 5 and 2**32 + 5: -0.8019 and 0.4260
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

print(*(f"{name} {version(name)}" for name in ("torch", "numpy")))

import numpy
import torch


def draw(seed):
    return torch.randn(1000, generator=torch.Generator().manual_seed(seed))


for name, seed in (("5", 5), ("2**32 + 5", 2**32 + 5), ("2**40 + 5", 2**40 + 5), ("2**31 + 5", 2**31 + 5)):
    print(f"torch, seed {name}: starts with", *(f"{value:.4f}" for value in draw(seed)[:3].tolist()))
assert torch.equal(draw(5), draw(2**32 + 5)) and torch.equal(draw(5), draw(2**40 + 5))
assert not torch.equal(draw(5), draw(2**31 + 5))
assert torch.Generator().manual_seed(2**32 + 5).initial_seed() == 2**32 + 5
first, second = (numpy.random.default_rng(seed).standard_normal() for seed in (5, 2**32 + 5))
print(f"numpy, seed 5 and 2**32 + 5: {first:.4f} and {second:.4f}")
assert first != second
EOF

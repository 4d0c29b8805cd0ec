#!/usr/bin/env bash
# diffusers 0.42.0: add_noise on bfloat16 images adds no noise at all for the first
# timesteps.
#
# Expected: at t=0 the noise has standard deviation 0.01 and at t=5 it has 0.03, which
#   bfloat16 holds without trouble.
# Happens: alpha-bar is cast to the dtype of the images before 1 - alpha-bar is taken.
#   In bfloat16 0.9999 rounds to 1, so the noise is exactly 0 at t=0 to 8, and a third
#   too large at t=10. In float16 it is 0 at t=0 and 1.
# Matters: mixed-precision fine-tuning with weight_dtype=torch.bfloat16 is the usual
#   script. The model is asked to find noise in a clean image, so the loss at small t
#   cannot fall.
# Instead: call add_noise on float32 tensors and cast the result.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   t=0: float32 0.0100, {'float16': 0.0, 'bfloat16': 0.0}
#   t=1: float32 0.0148, {'float16': 0.0, 'bfloat16': 0.0}
#   t=5: float32 0.0300, {'float16': 0.0312, 'bfloat16': 0.0}
#   t=8: float32 0.0402, {'float16': 0.0383, 'bfloat16': 0.0}
#   t=10: float32 0.0468, {'float16': 0.0442, 'bfloat16': 0.0625}
#   t=20: float32 0.0791, {'float16': 0.0797, 'bfloat16': 0.0884}
#   t=100: float32 0.3238, {'float16': 0.324, 'bfloat16': 0.3242}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export DIFFUSERS_VERBOSITY=error
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers")))

import torch
from diffusers import DDPMScheduler

scheduler = DDPMScheduler()


def level(t, dtype):
    image, noise = torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype)
    return scheduler.add_noise(image, noise, torch.tensor([t])).item()


for t in (0, 1, 5, 8, 10, 20, 100):
    right = (1 - scheduler.alphas_cumprod[t]).sqrt().item()
    seen = {str(dtype)[6:]: round(level(t, dtype), 4) for dtype in (torch.float16, torch.bfloat16)}
    print(f"t={t}: float32 {right:.4f}, {seen}")
    assert abs(level(t, torch.float32) - right) < 1e-6
assert [level(t, torch.bfloat16) for t in (0, 1, 5)] == [0, 0, 0]
assert [level(t, torch.float16) for t in (0, 1)] == [0, 0]
assert abs(level(5, torch.float16) - 0.03) < 0.005
EOF

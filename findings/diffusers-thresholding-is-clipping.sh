#!/usr/bin/env bash
# diffusers 0.42.0: thresholding=True is plain clipping unless sample_max_value is
# raised.
#
# Expected: dynamic thresholding (Imagen) divides a prediction by its 99.5th percentile
#   when that is above 1, so values keep their order instead of saturating.
# Happens: the percentile is clamped to [1, sample_max_value], and sample_max_value
#   defaults to 1.0. The divisor is always 1 and the result equals clamp(-1, 1), value
#   for value.
# Matters: someone compares thresholding with clip_sample under strong guidance, sees no
#   difference at all, and reports that dynamic thresholding does not help.
# Instead: pass thresholding=True together with sample_max_value, for example 10.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   DDPMScheduler: [0.0, 0.5, 1.0, 2.0, 4.0]
#     default -> [0.0, 0.5, 1.0]
#     sample_max_value=10 -> [0.0, 0.125, 0.25, 0.5, 1.0]
#   DDIMScheduler: [0.0, 0.5, 1.0, 2.0, 4.0]
#     default -> [0.0, 0.5, 1.0]
#     sample_max_value=10 -> [0.0, 0.125, 0.25, 0.5, 1.0]
#   DPMSolverMultistepScheduler: [0.0, 0.5, 1.0, 2.0, 4.0]
#     default -> [0.0, 0.5, 1.0]
#     sample_max_value=10 -> [0.0, 0.125, 0.25, 0.5, 1.0]
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
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

prediction = torch.tensor([0.0, 0.5, 1.0, 2.0, 4.0]).repeat(20).reshape(1, 1, 10, 10)
for kind in (DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler):
    default = kind(thresholding=True)._threshold_sample(prediction)
    raised = kind(thresholding=True, sample_max_value=10.0)._threshold_sample(prediction)
    print(f"{kind.__name__}: {prediction.unique().tolist()}")
    print(f"  default -> {default.unique().tolist()}")
    print(f"  sample_max_value=10 -> {raised.unique().tolist()}")
    assert torch.equal(default, prediction.clamp(-1, 1))
    assert torch.allclose(raised, prediction / 4)
EOF

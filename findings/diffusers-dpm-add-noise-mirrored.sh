#!/usr/bin/env bash
# diffusers 0.42.0: add_noise of DPMSolverMultistepScheduler and UniPCMultistepScheduler
# uses the mirrored timestep until set_timesteps has run.
#
# Expected: add_noise(x, noise, t) is sqrt(alpha-bar[t]) * x + sqrt(1 - alpha-bar[t]) *
#   noise, as with DDPMScheduler.
# Happens: a new scheduler looks t up in a descending list of timesteps and takes the
#   noise level from an ascending one: t=999 gives an almost clean image, t=0 pure
#   noise. After set_timesteps(10) a t that is not among the ten, such as 501, silently
#   gets the level of the last one.
# Matters: the scheduler in a model folder is often a DPM-Solver or UniPC. A fine-tuning
#   or unlearning loop that takes it for add_noise trains every timestep on the wrong
#   noise level, and the loss still goes down.
# Instead: train with DDPMScheduler.from_config(scheduler.config).
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   share of the image kept at t = 0, 100, 900, 999, and at 501 after set_timesteps(10)
#   DDPM: [1.0, 0.946, 0.016, 0.006, 0.278]
#   DPMSolverMultistepScheduler: [0.006, 0.017, 0.947, 1.0, 0.946]
#   UniPCMultistepScheduler: [0.006, 0.017, 0.947, 1.0, 0.946]
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
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

image, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)


def kept(scheduler, t):
    return round(scheduler.add_noise(image, none, torch.tensor([t])).item(), 3)


right = DDPMScheduler()
print("share of the image kept at t = 0, 100, 900, 999, and at 501 after set_timesteps(10)")
print("DDPM:", [kept(right, t) for t in (0, 100, 900, 999, 501)])
for kind in (DPMSolverMultistepScheduler, UniPCMultistepScheduler):
    scheduler = kind()
    fresh = {t: kept(scheduler, t) for t in (0, 100, 900, 999)}
    scheduler.set_timesteps(10)
    fresh[501] = kept(scheduler, 501)
    print(f"{kind.__name__}:", list(fresh.values()))
    assert fresh[0] < 0.01 and fresh[999] > 0.99
    assert all(abs(fresh[t] - kept(right, 999 - t)) < 0.01 for t in (0, 100, 900, 999))
    assert abs(fresh[501] - kept(right, 501)) > 0.5
EOF

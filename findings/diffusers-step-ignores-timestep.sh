#!/usr/bin/env bash
# diffusers 0.42.0: step() of EulerDiscreteScheduler and the multistep solvers ignores
# the timestep after the first call.
#
# Expected: step(output, t, x) makes the step from t, as with DDIMScheduler. Another t
#   gives another result.
# Happens: the first call finds the position of t, each later call only moves an
#   internal counter on. The second call gives the same result for t=timesteps[1] and
#   for t=timesteps[5]. A second run without set_timesteps goes on where the first one
#   stopped.
# Matters: loops that skip steps, repeat a step, evaluate a few timesteps, or stop early
#   and start a new image get the noise levels of other timesteps. Nothing fails until
#   the counter runs off the end.
# Instead: call set_timesteps before each run, visit each timestep once and in order, or
#   use DDIMScheduler.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   DDIMScheduler: timesteps[1] 0.9982, timesteps[5] 0.9240
#   EulerDiscreteScheduler: timesteps[1] -32.1500, timesteps[5] -32.1500
#   DPMSolverMultistepScheduler: timesteps[1] -0.5895, timesteps[5] -0.5895
#   UniPCMultistepScheduler: timesteps[1] 0.2156, timesteps[5] 0.2156
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
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)


def second(kind, position):
    scheduler = kind()
    scheduler.set_timesteps(10)
    x, noise = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    scheduler.scale_model_input(x, scheduler.timesteps[0])
    scheduler.step(noise, scheduler.timesteps[0], x)
    return scheduler.step(noise + 1, scheduler.timesteps[position], x).prev_sample.mean().item()


kinds = DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
for kind in kinds:
    next_one, skipped = second(kind, 1), second(kind, 5)
    print(f"{kind.__name__}: timesteps[1] {next_one:.4f}, timesteps[5] {skipped:.4f}")
    assert (next_one == skipped) == (kind is not DDIMScheduler)
EOF

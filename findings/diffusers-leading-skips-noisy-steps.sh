#!/usr/bin/env bash
# diffusers 0.42.0: sampling with 600 of 1000 steps starts in the middle of the
# schedule, at t=599.
#
# Expected: any number of steps runs from pure noise near t=999 down to 0, and more
#   steps are at least as good.
# Happens: timestep_spacing="leading", the default of DDPMScheduler and DDIMScheduler,
#   takes whole strides of 1000 // n. With 600 steps the stride is 1, so the timesteps
#   are 599 to 0 and the noisiest 400 are never visited. With 2 steps it starts at 500,
#   with 1 step at 0.
# Matters: the pipeline still starts from unit Gaussian noise, while the model is told
#   t=599, where it was trained on inputs that hold 16 per cent of the image. Nothing
#   fails, and a sweep over the number of steps compares different start points.
# Instead: use timestep_spacing="trailing", or a large number of steps that divides
#   num_train_timesteps.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   1000 steps: first timestep 999 (DDPM), 999 (DDIM), 999 (trailing); share of the image 0.006
#   600 steps: first timestep 599 (DDPM), 599 (DDIM), 999 (trailing); share of the image 0.161
#   501 steps: first timestep 500 (DDPM), 500 (DDIM), 999 (trailing); share of the image 0.279
#   500 steps: first timestep 998 (DDPM), 998 (DDIM), 999 (trailing); share of the image 0.006
#   2 steps: first timestep 500 (DDPM), 500 (DDIM), 999 (trailing); share of the image 0.279
#   1 steps: first timestep 0 (DDPM), 0 (DDIM), 999 (trailing); share of the image 1.000
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

from diffusers import DDIMScheduler, DDPMScheduler

for steps, first in ((1000, 999), (600, 599), (501, 500), (500, 998), (2, 500), (1, 0)):
    starts = []
    for kind in (DDPMScheduler, DDIMScheduler):
        scheduler = kind()
        scheduler.set_timesteps(steps)
        starts.append(int(scheduler.timesteps[0]))
    trailing = DDIMScheduler(timestep_spacing="trailing")
    trailing.set_timesteps(steps)
    signal = scheduler.alphas_cumprod[first].sqrt().item()
    print(
        f"{steps} steps: first timestep {starts[0]} (DDPM), {starts[1]} (DDIM), "
        f"{int(trailing.timesteps[0])} (trailing); share of the image {signal:.3f}"
    )
    assert starts == [first, first]
    assert trailing.timesteps[0] == 999
EOF

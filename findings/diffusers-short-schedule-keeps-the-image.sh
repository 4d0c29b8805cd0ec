#!/usr/bin/env bash
# diffusers 0.42.0: DDPMScheduler(num_train_timesteps=100) never reaches noise.
#
# Expected: the last timestep is almost pure noise for any number of timesteps, so that
#   sampling may start from a unit Gaussian.
# Happens: beta_start and beta_end stay at the values for 1000 steps. With 100 steps
#   alpha-bar ends at 0.36, so 60 per cent of the image (sqrt 0.36) is left at the last
#   timestep. With 10 steps it is 95 per cent.
# Matters: small experiments and tests use short schedules. The model trains to a good
#   loss and samples badly, since the start noise is unlike anything it saw, and the
#   fault is put on the model.
# Instead: multiply both betas by 1000 / num_train_timesteps, or use
#   beta_schedule="squaredcos_cap_v2", and check alphas_cumprod[-1].
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   share of the image left at the last timestep
#   {1000: 0.0064, 100: 0.603, 10: 0.9507}
#   100 steps: betas times 10 0.0045, cosine 0.0005
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

from diffusers import DDPMScheduler


def left(steps, **options):
    return DDPMScheduler(num_train_timesteps=steps, **options).alphas_cumprod[-1].sqrt().item()


seen = {steps: left(steps) for steps in (1000, 100, 10)}
scaled = left(100, beta_start=1e-3, beta_end=0.2)
cosine = left(100, beta_schedule="squaredcos_cap_v2")
print("share of the image left at the last timestep")
print({steps: round(share, 4) for steps, share in seen.items()})
print(f"100 steps: betas times 10 {scaled:.4f}, cosine {cosine:.4f}")
assert seen[1000] < 0.01
assert abs(seen[100] - 0.603) < 0.001
assert seen[10] > 0.9
assert scaled < 0.01 and cosine < 0.01
EOF

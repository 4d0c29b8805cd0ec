#!/usr/bin/env bash
# diffusers 0.42.0: DDIM with eta=1 is not DDPM once a prediction is clipped.
#
# Expected: the DDIM paper shows that eta=1 is the DDPM sampler, so both schedulers give
#   the same mean for the same model output.
# Happens: they agree without clipping. With clip_sample=True, the default of both, DDIM
#   clips the predicted image but goes on with the noise of the unclipped one, so image
#   and noise no longer add up to x. For x=2 the means are 0.33 (DDIM) and 1.28 (DDPM).
# Matters: a pixel-space DDPM folder loaded with DDIMPipeline for speed clips at many
#   noisy steps, and the difference is then put on the number of steps.
# Instead: pass use_clipped_model_output=True to step() or to DDIMPipeline.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   clip_sample=False: DDPM 3.3701, DDIM eta=1 3.3701, clipped noise 3.3701
#   clip_sample=True: DDPM 1.2773, DDIM eta=1 0.3325, clipped noise 1.2773
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

from unittest import mock

import torch
from diffusers import DDIMScheduler, DDPMScheduler

x, eps, zero = (torch.full((1, 1, 1, 1), value) for value in (2.0, 0.1, 0.0))


def means(clip):
    ddpm, ddim = DDPMScheduler(clip_sample=clip), DDIMScheduler(clip_sample=clip)
    for scheduler in (ddpm, ddim):
        scheduler.set_timesteps(10)
    t = ddpm.timesteps[3]
    with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", return_value=zero):
        mean = ddpm.step(eps, t, x).prev_sample.item()
    options = {"eta": 1.0, "variance_noise": zero}
    plain = ddim.step(eps, t, x, **options).prev_sample.item()
    fixed = ddim.step(eps, t, x, use_clipped_model_output=True, **options).prev_sample.item()
    return mean, plain, fixed


for clip in (False, True):
    mean, plain, fixed = means(clip)
    print(f"clip_sample={clip}: DDPM {mean:.4f}, DDIM eta=1 {plain:.4f}, clipped noise {fixed:.4f}")
    assert abs(mean - fixed) < 1e-5
    assert (abs(mean - plain) > 0.5) == clip
EOF

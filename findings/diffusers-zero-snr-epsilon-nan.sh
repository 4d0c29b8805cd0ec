#!/usr/bin/env bash
# diffusers 0.42.0: rescale_betas_zero_snr with a noise-predicting model divides 0 by 0,
# and the image comes out black.
#
# Expected: zero terminal SNR with prediction_type="epsilon" (the default) is refused,
#   as the image cannot be found from the noise when alpha-bar is 0.
# Happens: DDIMScheduler and DDPMScheduler compute (x - eps) / sqrt(alpha-bar[999]) with
#   alpha-bar exactly 0. A perfect model (eps = x) gives NaN at the first step, an
#   imperfect one gives plus or minus infinity, which clip_sample turns into pixels at
#   the two ends of the range. The pipeline turns NaN into black pixels without an
#   error.
# Matters: the option is recommended together with timestep_spacing="trailing". A black
#   image may also pass for a safety checker at work, or for a concept that was
#   unlearned.
# Instead: use prediction_type="v_prediction" with rescale_betas_zero_snr, and assert
#   that latents are finite.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   DDIMScheduler: alpha-bar[999] = 0.0e+00
#     perfect model: 100% NaN
#     model off by 10 per cent: predicted image holds [-1.0, 1.0]
#   DDPMScheduler: alpha-bar[999] = 0.0e+00
#     perfect model: 100% NaN
#     model off by 10 per cent: predicted image holds [-1.0, 1.0]
#   picture of the NaNs: largest pixel 0
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

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.image_processor import VaeImageProcessor

torch.manual_seed(0)
noise = torch.randn(1, 3, 8, 8)
options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
for kind in (DDIMScheduler, DDPMScheduler):
    scheduler = kind(**options)
    scheduler.set_timesteps(10)
    t = scheduler.timesteps[0]
    perfect = scheduler.step(noise, t, noise).prev_sample
    off = scheduler.step(0.9 * noise, t, noise).pred_original_sample
    print(f"{kind.__name__}: alpha-bar[{t}] = {scheduler.alphas_cumprod[t]:.1e}")
    print(f"  perfect model: {perfect.isnan().float().mean():.0%} NaN")
    print(f"  model off by 10 per cent: predicted image holds {off.unique().tolist()}")
    assert scheduler.alphas_cumprod[t] == 0
    assert perfect.isnan().all()
    assert set(off.unique().tolist()) == {-1, 1}
picture = np.asarray(VaeImageProcessor().postprocess(perfect, output_type="pil")[0])
print("picture of the NaNs: largest pixel", picture.max())
assert picture.max() == 0
scheduler = DDIMScheduler(prediction_type="v_prediction", **options)
scheduler.set_timesteps(10)
assert scheduler.step(noise, scheduler.timesteps[0], noise).prev_sample.isfinite().all()
EOF

#!/usr/bin/env bash
# diffusers 0.42.0: with clip_sample, DDIMScheduler clips the predicted x_0 but goes on with
# the noise of the unclipped one.
#
# Expected: a step x' = sqrt(a') x_0 + sqrt(1 - a') epsilon with an x_0 and an epsilon that
#   belong together: after clipping, epsilon = (x - sqrt(a) x_0) / sqrt(1 - a).
# Happens: epsilon stays the network's. use_clipped_model_output=True of step() and of
#   DDIMPipeline.__call__ recomputes it, and is off by default.
# Matters: clip_sample is on by default in DDPMScheduler and DDIMScheduler, and DDIMPipeline
#   takes it over from the config of a DDPM. DDPMScheduler's own step has no such mismatch, so
#   a folder that DDPMPipeline draws well is drawn with noise left in it by DDIMPipeline.
# Instead: give use_clipped_model_output=True, or set clip_sample to False.
#
# Output seen when this was written:
#   x_0 after clipping 1.000
#   noise used 0.500, noise that belongs to this x_0 1.138
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.13.0 diffusers==0.42.0 transformers==5.23.0
"$work/env/bin/python" - <<'P' 2> /dev/null
import torch
from diffusers import DDIMScheduler, DDPMScheduler

scheduler = DDIMScheduler.from_config(DDPMScheduler().config)  # clip_sample is on by default
scheduler.set_timesteps(50)
t = int(scheduler.timesteps[20])
a, before = scheduler.alphas_cumprod[t], scheduler.alphas_cumprod[t - 20]
epsilon, x = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 1.3)
step = scheduler.step(epsilon, t, x)
clean, reached = step.pred_original_sample, step.prev_sample
used = ((reached - before.sqrt() * clean) / (1 - before).sqrt()).item()
belongs = ((x - a.sqrt() * clean) / (1 - a).sqrt()).item()
print(f"x_0 after clipping {clean.item():.3f}")
print(f"noise used {used:.3f}, noise that belongs to this x_0 {belongs:.3f}")
assert clean.item() == 1.0 and abs(used - 0.5) < 1e-3 and belongs > 0.6
P

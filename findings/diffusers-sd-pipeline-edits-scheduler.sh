#!/usr/bin/env bash
# diffusers 0.42.0: building a StableDiffusionPipeline changes the scheduler object that
# it is given.
#
# Expected: a constructor keeps the objects it is given as they are.
# Happens: steps_offset is set to 1 and clip_sample to False inside the caller's
#   scheduler. The FutureWarning says that the configuration file should be changed, not
#   that the object was. A scheduler used by the caller before and after gives other
#   timesteps (900, 800, ... becomes 901, 801, ...) and no longer clips.
# Matters: one scheduler is often shared by a training loop, a pixel-space pipeline and
#   a latent pipeline. Building the last one changes the results of the others.
# Instead: pass a copy: DDIMScheduler.from_config(scheduler.config).
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0 transformers 5.23.0
#   before: steps_offset 0, clip_sample True, step from 3 at t=500: 0.44
#     timesteps [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
#   after: steps_offset 1, clip_sample False, step from 3 at t=500: 4.732
#     timesteps [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 transformers==5.23.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export DIFFUSERS_VERBOSITY=error TRANSFORMERS_VERBOSITY=error
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers")))

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8,
    block_out_channels=(32,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
    cross_attention_dim=8,
)
scheduler = DDIMScheduler()


def state():
    scheduler.set_timesteps(10)
    noise = 3 * torch.ones(1, 1, 1, 1)
    step = scheduler.step(0 * noise, 500, noise).prev_sample.item()
    config, timesteps = scheduler.config, scheduler.timesteps.tolist()
    return config.steps_offset, config.clip_sample, round(step, 3), timesteps


before = state()
StableDiffusionPipeline(
    AutoencoderKL(), None, None, unet, scheduler, None, None, requires_safety_checker=False
)
after = state()
for name, (offset, clip, step, timesteps) in (("before", before), ("after", after)):
    print(f"{name}: steps_offset {offset}, clip_sample {clip}, step from 3 at t=500: {step}")
    print(f"  timesteps {timesteps}")
assert before[:2] == (0, True)
assert after[:2] == (1, False)
assert before[2] != after[2]
assert [t + 1 for t in before[3]] == after[3]
EOF

#!/usr/bin/env bash
# diffusers 0.42.0: DDIMPipeline(unet, scheduler) runs DDIM whatever scheduler it is
# given.
#
# Expected: a pipeline uses the scheduler it is given, or refuses one that it cannot
#   use.
# Happens: DDIMPipeline builds a DDIMScheduler from the config of the one it gets, so
#   DPM-Solver, UniPC and DDPM all draw the same image, with no message.
# Matters: a comparison of samplers on an unconditional model shows equal images and
#   equal figures. The table is about one sampler under three names.
# Instead: check type(pipeline.scheduler) after building, or write the sampling loop
#   out.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   DDIMPipeline with DDPMScheduler holds DDIMScheduler
#   DDIMPipeline with DPMSolverMultistepScheduler holds DDIMScheduler
#   DDIMPipeline with UniPCMultistepScheduler holds DDIMScheduler
#   images equal: True
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
    DDIMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)

torch.manual_seed(0)
unet = UNet2DModel(
    sample_size=8,
    block_out_channels=(32,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
).eval()


def draw(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(0)
    images = pipeline(generator=seed, num_inference_steps=5, output_type="np").images
    return torch.from_numpy(images)


images = []
for kind in (DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler):
    pipeline = DDIMPipeline(unet, kind())
    images.append(draw(pipeline))
    print(f"DDIMPipeline with {kind.__name__} holds {type(pipeline.scheduler).__name__}")
equal = all(torch.equal(images[0], other) for other in images)
print("images equal:", equal)
assert equal
EOF

#!/usr/bin/env bash
# diffusers 0.42.0: saving over a folder with safe_serialization=False leaves the old
# weights, and loading takes those.
#
# Expected: after save_pretrained into a folder, from_pretrained on that folder gives
#   the model that was saved.
# Happens: the new weights go to diffusion_pytorch_model.bin, the old
#   diffusion_pytorch_model.safetensors stays, and from_pretrained prefers it. The model
#   that comes back is the previous one, with no message.
# Matters: an unlearned model saved this way over its source is the original model
#   again, and still draws what it was made to forget.
# Instead: save into an empty folder, and compare one tensor after loading.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   ['config.json', 'diffusion_pytorch_model.bin', 'diffusion_pytorch_model.safetensors']
#   loaded weights equal the old ones: True
#   loaded weights equal the saved ones: False
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

import os

import torch
from diffusers import UNet2DModel

model = UNet2DModel(
    sample_size=8,
    block_out_channels=(32,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
)
model.save_pretrained("model")
old = model.conv_in.weight.detach().clone()
with torch.no_grad():
    model.conv_in.weight.add_(1)
model.save_pretrained("model", safe_serialization=False)
back = UNet2DModel.from_pretrained("model", low_cpu_mem_usage=False).conv_in.weight
print(sorted(os.listdir("model")))
print("loaded weights equal the old ones:", torch.equal(back, old))
print("loaded weights equal the saved ones:", torch.equal(back, model.conv_in.weight))
assert torch.equal(back, old)
assert not torch.equal(back, model.conv_in.weight)
EOF

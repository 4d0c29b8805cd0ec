#!/usr/bin/env bash
# diffusers 0.42.0: saving a model over a sharded one leaves a folder that cannot be
# loaded.
#
# Expected: save_pretrained over a folder with shards replaces it, and from_pretrained
#   gives the new model.
# Happens: the old shards are deleted and one new file is written, but the old index
#   stays. from_pretrained follows the index and raises for the first shard, although
#   the complete weights lie beside it.
# Matters: a large model that arrived in shards, was fine-tuned and saved in place is
#   reported as damaged after hours of training. The weights are there.
# Instead: save into an empty folder, or delete
#   diffusion_pytorch_model.safetensors.index.json.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   3 shards and diffusion_pytorch_model.safetensors.index.json
#   after saving again:
#   config.json
#   diffusion_pytorch_model.safetensors
#   diffusion_pytorch_model.safetensors.index.json
#   from_pretrained: FileNotFoundError, names a shard: True
#   without the index: True
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
model.save_pretrained("model", max_shard_size="400KB")
index = "diffusion_pytorch_model.safetensors.index.json"
shards = sum(name.endswith(".safetensors") for name in os.listdir("model"))
print(f"{shards} shards and {index}")
model.save_pretrained("model")
print("after saving again:")
print(*sorted(os.listdir("model")), sep="\n")
try:
    UNet2DModel.from_pretrained("model", low_cpu_mem_usage=False)
    raised = False
except OSError as error:
    raised = True
    print(f"from_pretrained: {type(error).__name__}, names a shard: {'-00001-of-' in str(error)}")
assert shards > 1
assert raised
os.remove(f"model/{index}")
back = UNet2DModel.from_pretrained("model", low_cpu_mem_usage=False)
print("without the index:", torch.equal(back.conv_in.weight, model.conv_in.weight))
assert torch.equal(back.conv_in.weight, model.conv_in.weight)
EOF

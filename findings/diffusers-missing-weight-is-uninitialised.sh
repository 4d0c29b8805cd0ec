#!/usr/bin/env bash
# diffusers 0.42.0: without accelerate, a weight missing from a model folder is
# uninitialised memory, not a fresh random weight.
#
# Expected: from_pretrained raises for a missing weight, or draws it from the usual
#   initialisation; the log says "newly initialized".
# Happens: initialisation is switched off while loading, so the tensor is whatever
#   torch.empty finds: zeros, old data or values of 1e38. The script makes torch fill
#   such memory with NaN to show it. With accelerate installed, low_cpu_mem_usage=True is
#   the default and the call raises instead.
# Matters: a folder whose keys were renamed, pruned or merged by hand loads with one
#   logged line, and the outputs differ from run to run or are NaN. Whether it fails
#   depends on an optional package.
# Instead: call from_pretrained with output_loading_info=True and stop when missing_keys
#   is not empty.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   missing_keys: ['conv_in.weight']
#   logged: ... and are newly initialized: ['conv_in.weight']
#   never written: 100% of conv_in.weight; NaN in a freshly built model: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers")))

import logging

import torch
from diffusers import UNet2DModel
from diffusers.utils.logging import add_handler, disable_default_handler
from safetensors.torch import load_file, save_file

disable_default_handler()
said = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())
add_handler(handler)
model = UNet2DModel(
    sample_size=8,
    block_out_channels=(32,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
)
model.save_pretrained("model")
path = "model/diffusion_pytorch_model.safetensors"
weights = load_file(path)
del weights["conv_in.weight"]
save_file(weights, path, metadata={"format": "pt"})

torch.use_deterministic_algorithms(True)  # fills new, uninitialised memory with NaN
torch.utils.deterministic.fill_uninitialized_memory = True
loaded, info = UNet2DModel.from_pretrained(
    "model", low_cpu_mem_usage=False, output_loading_info=True
)
share = loaded.conv_in.weight.isnan().float().mean().item()
fresh = UNet2DModel.from_config(model.config).conv_in.weight.isnan().any().item()
print("missing_keys:", info["missing_keys"])
(line,) = [line.split("\n")[0] for line in said if "newly initialized" in line]
print("logged: ...", line[line.index("and are newly") :])
print(f"never written: {share:.0%} of conv_in.weight; NaN in a freshly built model: {fresh}")
assert info["missing_keys"] == ["conv_in.weight"]
assert share == 1
assert not fresh
EOF

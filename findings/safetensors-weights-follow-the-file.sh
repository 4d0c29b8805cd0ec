#!/usr/bin/env bash
# safetensors 0.8.0: loaded weights change when their file is overwritten in place.
#
# Expected: load_file and from_pretrained read the weights into memory. What happens to
#   the file afterwards does not reach a model that is loaded.
# Happens: on the CPU the tensors are mapped from the file. Bytes that another program
#   writes into it appear in the tensors, and in a UNet2DModel from from_pretrained. A
#   file that is replaced by rename keeps the old contents for the loaded model.
# Matters: a server keeps a model in memory while a download, rsync --inplace or cp
#   writes over its folder. Samples before and after are then of different weights, and
#   a hash taken at loading no longer describes them.
# Instead: clone each parameter after loading, or only ever replace files by rename.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0 safetensors 0.8.0
#   load_file: 1000 ones, after an overwrite their sum is 491
#   from_pretrained: 63 of 156 parameters change
#   the same, cloned: 0 of 156 parameters change
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 safetensors==0.8.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers", "safetensors")))

from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file


def overwrite(path):
    contents = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(contents) // 2)
        file.write(bytes(len(contents) - len(contents) // 2))


save_file({"ones": torch.ones(1000)}, "ones.safetensors")
ones = load_file("ones.safetensors")["ones"]
overwrite(Path("ones.safetensors"))
print(f"load_file: 1000 ones, after an overwrite their sum is {ones.sum():.0f}")
assert ones.sum() < 1000

blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
UNet2DModel(8, block_out_channels=(8, 8), norm_num_groups=4, **blocks).save_pretrained("unet")
for name, copied in (("from_pretrained", False), ("the same, cloned", True)):
    UNet2DModel(8, block_out_channels=(8, 8), norm_num_groups=4, **blocks).save_pretrained("unet")
    model = UNet2DModel.from_pretrained("unet", low_cpu_mem_usage=False)
    if copied:
        for value in model.parameters():
            value.data = value.data.clone()
    before = [value.detach().clone() for value in model.parameters()]
    overwrite(Path("unet/diffusion_pytorch_model.safetensors"))
    changed = sum(not torch.equal(*pair) for pair in zip(before, model.parameters()))
    print(f"{name}: {changed} of {len(before)} parameters change")
    assert (changed == 0) == copied
EOF

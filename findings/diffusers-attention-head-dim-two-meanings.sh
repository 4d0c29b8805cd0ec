#!/usr/bin/env bash
# diffusers 0.42.0: attention_head_dim=8 means 8 heads in UNet2DConditionModel and heads
# of 8 channels in UNet2DModel.
#
# Expected: one name has one meaning: channels per head.
# Happens: for 64 channels UNet2DModel builds 8 heads of 8 at 8 and 16 heads of 4 at 4.
#   UNet2DConditionModel builds 8 heads of 8 at 8 and 4 heads of 16 at 4. The number of
#   parameters is the same, so weights of one reading load into the other with no error
#   and give other outputs.
# Matters: code that rebuilds a model from a paper's table, exports it, or moves a
#   config between the two classes gets other attention maps with the same weights. The
#   default 8 hides it in small tests.
# Instead: read .heads of the attention modules and compare.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   attention_head_dim=4, 64 channels: UNet2DModel 16 heads, UNet2DConditionModel 4 heads
#   attention_head_dim=8, 64 channels: UNet2DModel 8 heads, UNet2DConditionModel 8 heads
#   attention_head_dim=16, 64 channels: UNet2DModel 4 heads, UNet2DConditionModel 16 heads
#   weights of 4 heads loaded into 16 heads: no error, output changes by 0.050
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
from diffusers import UNet2DConditionModel, UNet2DModel

options = {"sample_size": 8, "block_out_channels": (64,), "layers_per_block": 1}


def build(dim, cross):
    torch.manual_seed(0)
    if not cross:
        return UNet2DModel(
            down_block_types=("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",),
            attention_head_dim=dim,
            **options,
        )
    return UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=dim,
        cross_attention_dim=8,
        **options,
    )


def heads(model):
    (number,) = {m.heads for m in model.modules() if type(m).__name__ == "Attention"}
    return number


for dim in (4, 8, 16):
    plain, cross = heads(build(dim, False)), heads(build(dim, True))
    print(f"attention_head_dim={dim}, 64 channels: UNet2DModel {plain} heads, ", end="")
    print(f"UNet2DConditionModel {cross} heads")
    assert plain == 64 // dim
    assert cross == dim
four, sixteen = build(4, True).eval(), build(16, True).eval()
sixteen.load_state_dict(four.state_dict())
image, text = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 8)
with torch.no_grad():
    change = (four(image, 10, text).sample - sixteen(image, 10, text).sample).abs().max().item()
print(f"weights of 4 heads loaded into 16 heads: no error, output changes by {change:.3f}")
assert change > 0
EOF

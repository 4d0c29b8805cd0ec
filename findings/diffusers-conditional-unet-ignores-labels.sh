#!/usr/bin/env bash
# diffusers 0.42.0: UNet2DConditionModel ignores class_labels when it has no class
# embedding.
#
# Expected: labels given to a model without a class embedding raise ValueError, as
#   UNet2DModel does.
# Happens: UNet2DConditionModel built without num_class_embeds accepts class_labels and
#   returns the same output for every label.
# Matters: a class-conditional run on this model trains an unconditional one. "Forget
#   class 3" then changes all classes alike, and nothing but the images tells.
# Instead: check that model.class_embedding is not None, or pass num_class_embeds when
#   building.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   UNet2DConditionModel: label 0 against 9 changes the output by 0.0
#   the same with num_class_embeds=10: 0.555
#   UNet2DModel: class_embedding needs to be initialized in order to use class conditioning
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

torch.manual_seed(0)
options = {
    "sample_size": 8,
    "block_out_channels": (32,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "in_channels": 3,
    "norm_num_groups": 8,
}
text, image = torch.randn(1, 3, 8), torch.randn(1, 3, 8, 8)


@torch.no_grad()
def change(model):
    outputs = [
        model(image, 10, text, class_labels=torch.tensor([label])).sample for label in (0, 9)
    ]
    return (outputs[0] - outputs[1]).abs().max().item()


plain = change(UNet2DConditionModel(cross_attention_dim=8, **options).eval())
built = change(UNet2DConditionModel(cross_attention_dim=8, num_class_embeds=10, **options).eval())
print(f"UNet2DConditionModel: label 0 against 9 changes the output by {plain}")
print(f"the same with num_class_embeds=10: {built:.3f}")
try:
    UNet2DModel(**options)(image, 10, class_labels=torch.tensor([0]))
    raised = False
except ValueError as error:
    raised = True
    print("UNet2DModel:", error)
assert plain == 0
assert built > 1e-3
assert raised
EOF

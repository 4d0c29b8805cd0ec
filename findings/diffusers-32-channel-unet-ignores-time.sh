#!/usr/bin/env bash
# diffusers 0.42.0: a UNet2DModel with 32 channels per block ignores the timestep and
# the class label.
#
# Expected: the output depends on the timestep and on the label, as these are added to
#   the features of each block.
# Happens: the embedding is added as one constant per channel, and group normalisation
#   follows. With the default norm_num_groups=32 and 32 channels each group is one
#   channel, so the constant is subtracted again. t=0 and t=999, or class 0 and class 9,
#   give the same output up to rounding.
# Matters: small models for tests, MNIST and toy experiments have 32 channels. Such a
#   model trains to a middling loss, cannot tell noise levels apart, and cannot forget
#   one class without all others.
# Instead: use norm_num_groups=8 (or at least two channels per group), or
#   resnet_time_scale_shift="scale_shift".
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   largest change of the output for t=999 instead of 0, for class 9 instead of 0
#   32 channels, defaults:   9.5e-07 7.7e-07
#   norm_num_groups=8:       9.8e-02 8.2e-01
#   scale_shift:             1.0e-01 8.9e-01
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
from diffusers import UNet2DModel

image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def change(**options):
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=10,
        **options,
    ).eval()

    def output(t, label):
        return model(image, t, class_labels=torch.tensor([label])).sample

    base = output(0, 0)
    return [(output(*other) - base).abs().max().item() for other in ((999, 0), (0, 9))]


print("largest change of the output for t=999 instead of 0, for class 9 instead of 0")
default = change()
grouped = change(norm_num_groups=8)
shifted = change(resnet_time_scale_shift="scale_shift")
print("32 channels, defaults:  ", *(f"{value:.1e}" for value in default))
print("norm_num_groups=8:      ", *(f"{value:.1e}" for value in grouped))
print("scale_shift:            ", *(f"{value:.1e}" for value in shifted))
assert max(default) < 1e-4
assert min(grouped) > 1e-2
assert min(shifted) > 1e-2
EOF

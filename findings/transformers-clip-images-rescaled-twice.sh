#!/usr/bin/env bash
# transformers 5.23.0: CLIPImageProcessor turns white images in [0, 1] into black ones.
#
# Expected: a white image is the same input for CLIP as bytes of 255 and as floats of
#   1.0, or floats are refused.
# Happens: do_rescale divides by 255 whatever the values are. Floats of 1.0 become
#   0.004, which after normalisation is black. Without torchvision (the Pillow
#   processor) nothing is logged either.
# Matters: diffusers returns floats in [0, 1] with output_type="np" or "pt". CLIP scores
#   and CLIP-based judges of these images all look at near-black pictures, so all models
#   score nearly the same.
# Instead: pass do_rescale=False with floats, or convert to uint8 first.
#
# Output seen when this was written:
#   transformers 5.23.0 pillow 12.3.0
#   mean input for CLIP: white bytes 2.050, black bytes -1.675
#   white floats -1.660, with do_rescale=False 2.050
#   logged: ''
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  transformers==5.23.0 numpy==2.4.6 pillow==12.3.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("transformers", "pillow")))

import io
import logging

import numpy as np
from transformers import CLIPImageProcessorPil
from transformers.utils.logging import add_handler

said = io.StringIO()
add_handler(logging.StreamHandler(said))
processor = CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})


def value(image, **options):
    return processor(image, return_tensors="np", **options).pixel_values.mean()


white = np.full((8, 8, 3), 255, np.uint8)
bytes_white, bytes_black = value(white), value(0 * white)
floats = value(white / 255.0)
unscaled = value((white / 255.0).astype(np.float32), do_rescale=False)
print(f"mean input for CLIP: white bytes {bytes_white:.3f}, black bytes {bytes_black:.3f}")
print(f"white floats {floats:.3f}, with do_rescale=False {unscaled:.3f}")
print(f"logged: {said.getvalue()!r}")
assert abs(floats - bytes_black) < 0.05
assert abs(unscaled - bytes_white) < 0.01
assert said.getvalue() == ""
EOF

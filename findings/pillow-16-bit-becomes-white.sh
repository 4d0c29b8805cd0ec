#!/usr/bin/env bash
# Pillow 12.3.0: converting a 16-bit grey image to "L" or "RGB" cuts at 255 instead of
# scaling.
#
# Expected: the range 0 to 65535 is mapped to 0 to 255, so a 16-bit ramp becomes an
#   8-bit ramp.
# Happens: each value above 255 becomes 255. A ramp from 0 to 65535 is white but for its
#   first 0.4 per cent, with no error or warning.
# Matters: X-rays, microscopy and depth maps come as 16-bit PNG, and data loaders call
#   convert("RGB"). The model trains on white images, and each figure is computed as
#   usual.
# Instead: read the array, divide it by 257 and build the 8-bit image from that.
#
# Output seen when this was written:
#   pillow 12.3.0
#   mode I;16 values [0, 8191, 16383, 24575, 32767, 40959, 49151, 57343, 65535]
#   convert('L'):   [0, 255, 255, 255, 255, 255, 255, 255, 255]
#   convert('RGB'): [0, 255, 255, 255, 255, 255, 255, 255, 255]
#   divided by 257: [0, 31, 63, 95, 127, 159, 191, 223, 255]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  pillow==12.3.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("pillow",)))

import io

import numpy as np
from PIL import Image

ramp = np.linspace(0, 65535, 9).astype(np.uint16).reshape(3, 3)
file = io.BytesIO()
Image.fromarray(ramp).save(file, "png")
image = Image.open(file)
grey, red = np.asarray(image.convert("L")), np.asarray(image.convert("RGB"))[..., 0]
print("mode", image.mode, "values", ramp.ravel().tolist())
print("convert('L'):  ", grey.ravel().tolist())
print("convert('RGB'):", red.ravel().tolist())
print("divided by 257:", (ramp // 257).ravel().tolist())
assert image.mode == "I;16"
assert grey.ravel().tolist() == [0] + [255] * 8
assert red.ravel().tolist() == [0] + [255] * 8
EOF

#!/usr/bin/env bash
# gradio 6.31.0: an image that a function returns as an array is shown and downloaded as
# lossy WebP.
#
# Expected: the file behind gr.Image() holds the pixels that the function returned.
# Happens: format="webp" is the default and the encoder is lossy. For 32x32 noise the
#   mean change per pixel is about 47 of 255, for a smooth ramp about 1. gr.Gallery()
#   does the same. format="png" keeps every pixel.
# Matters: generated images of 32x32 are downloaded from a demo and scored. FID, SSIM, a
#   judge and a copy check then see compression, not the model, and left-over noise is
#   smoothed away.
# Instead: pass format="png" to gr.Image and gr.Gallery.
#
# Output seen when this was written:
#   gradio 6.31.0 pillow 12.3.0
#   gr.Image(): webp, mean change 47.41 on noise, 0.98 on a ramp
#   gr.Gallery(): webp, mean change 47.41 on noise, 0.98 on a ramp
#   gr.Image(format="png"): png, mean change 0.00 on noise, 0.00 on a ramp
#   gr.Gallery(format="png"): png, mean change 0.00 on noise, 0.00 on a ramp
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  gradio==6.31.0 numpy==2.4.6 pillow==12.3.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf" GRADIO_ANALYTICS_ENABLED=False
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("gradio", "pillow")))

import gradio as gr
import numpy as np
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
ramp = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 32, 0).repeat(3, 2)


def change(component, pixels):
    data = component.postprocess([pixels] if isinstance(component, gr.Gallery) else pixels)
    path = data.root[0].image.path if isinstance(component, gr.Gallery) else data.path
    back = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return path.rsplit(".")[-1], float(abs(back - pixels).mean())


with gr.Blocks():
    parts = {
        "gr.Image()": gr.Image(),
        "gr.Gallery()": gr.Gallery(),
        'gr.Image(format="png")': gr.Image(format="png"),
        'gr.Gallery(format="png")': gr.Gallery(format="png"),
    }
for name, part in parts.items():
    (kind, on_noise), (_, on_ramp) = change(part, noise), change(part, ramp)
    print(f"{name}: {kind}, mean change {on_noise:.2f} on noise, {on_ramp:.2f} on a ramp")
    assert (on_noise > 10) == ("png" not in name)
    assert (on_ramp > 0) == ("png" not in name)
EOF

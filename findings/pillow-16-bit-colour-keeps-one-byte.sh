#!/usr/bin/env bash
# Pillow 12.3.0: a colour picture of 16 bits per channel keeps only the upper byte, where
# a grey one keeps all 16 bits.
#
# Expected: both keep their values, or the colour picture is refused.
# Happens: a grey PNG of 16 bits opens as I;16 with its values. The same levels in colour
#   open as RGB of 8 bits, each value divided by 256, with no error or warning.
# Matters: cameras store 12 bits in 16. A full grey range from 0 to 4095 keeps its 4096
#   levels, in colour 16 levels from 0 to 15 are left. The picture looks black, and a
#   brighter display cannot bring the lost bits back.
# Instead: read 16-bit colour with another library (OpenCV with IMREAD_UNCHANGED, or
#   imageio), or scale it to the full range before it is saved.
#
# Output seen when this was written:
#   pillow 12.3.0
#   grey: mode I;16, brightest 4095, 4096 levels
#   colour: mode RGB, brightest 15, 16 levels
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  pillow==12.3.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W error - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("pillow",)))

import io
import struct
import zlib

import numpy as np
from PIL import Image


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(levels, channels):
    """One row of pixels, 16 bits per channel."""
    head = struct.pack(">IIBBBBB", len(levels), 1, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    row = b"\0" + np.repeat(levels, channels).astype(">u2").tobytes()
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts)))


levels = np.arange(4096)
grey, colour = png(levels, 1), png(levels, 3)
for name, image in (("grey", grey), ("colour", colour)):
    values = np.asarray(image)
    print(f"{name}: mode {image.mode}, brightest {values.max()}, {len(np.unique(values))} levels")
assert np.array_equal(np.asarray(grey)[0], levels)
assert np.array_equal(np.asarray(colour)[0, :, 0], levels // 256)
EOF

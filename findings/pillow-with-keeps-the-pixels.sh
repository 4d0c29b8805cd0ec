#!/usr/bin/env bash
# Pillow 12.3.0: the end of `with Image.open(...) as image` closes the file, but keeps the
# decoded pixels.
#
# Expected: what the block opened is freed at its end, as image.close() frees it.
# Happens: the pixels stay until the variable goes. They can still be read and cropped
#   after the block, where image.close() makes both an error.
# Matters: ten pictures of 4 megapixels, opened in blocks and kept in a list for their
#   names or sizes, hold 160 MB. In a loop the last one stays until the next is decoded,
#   so that a server in between holds it for nothing.
# Instead: call image.close() in the block, or open the picture in a function that returns
#   what is needed of it.
#
# Output seen when this was written:
#   pillow 12.3.0
#   after the block: pixels can be read, (255, 0, 0), file None
#   after close(): ValueError, Operation on closed image
#   ten kept after their blocks take more than 100 MiB: True; then closed: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  pillow==12.3.0 psutil==7.2.2
cd "$work"
"$work/venv/bin/python" -W error - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("pillow",)))

import io

import psutil
from PIL import Image

file = io.BytesIO()
Image.new("RGB", (2000, 2000), "red").save(file, "png")


def opened():
    with Image.open(io.BytesIO(file.getvalue())) as image:
        image.load()
    return image


def memory():
    return psutil.Process().memory_info().rss >> 20


image = opened()
print("after the block: pixels can be read,", f"{image.getpixel((0, 0))}, file {image.fp}")
assert image.getpixel((0, 0)) == (255, 0, 0)
image.close()
try:
    image.getpixel((0, 0))
except ValueError as error:
    print(f"after close(): {type(error).__name__}, {error}")
else:
    raise AssertionError("close() frees nothing")
before = memory()
kept = [opened() for _ in range(10)]
held = memory() - before
for image in kept:
    image.close()
freed = memory() - before
print(f"ten kept after their blocks take more than 100 MiB: {held > 100}; then closed: {freed > 100}")
assert held > 100 > freed
EOF

#!/usr/bin/env bash
# datasets 5.2.0: an imagefolder with one class folder has no label column.
#
# Expected: train/3/0.png has label 0 with the name "3", as it has when a second class
#   folder stands beside it.
# Happens: with one class folder the loader drops the labels, with no message. The
#   column appears again with two folders.
# Matters: a forget set is one class by definition. Code that reads row["label"] works
#   on the whole set and raises KeyError on the forget set, or trains without condition
#   where labels are optional.
# Instead: pass drop_labels=False.
#
# Output seen when this was written:
#   datasets 5.2.0 pillow 12.3.0
#   two class folders: ['image', 'label']
#   one class folder: ['image']
#   one class folder, drop_labels=False: ['image', 'label']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  datasets==5.2.0 pillow==12.3.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export HF_DATASETS_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("datasets", "pillow")))

import os

import numpy as np
from datasets import load_dataset
from PIL import Image


def columns(folder, names, **options):
    for name in names:
        os.makedirs(f"{folder}/train/{name}", exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(f"{folder}/train/{name}/0.png")
    cache = f"cache-{folder}-{len(options)}"
    return load_dataset(
        "imagefolder", data_dir=folder, cache_dir=cache, split="train", **options
    ).column_names


two, one = columns("two", ("3", "4")), columns("one", ("3",))
kept = columns("one", ("3",), drop_labels=False)
print("two class folders:", two)
print("one class folder:", one)
print("one class folder, drop_labels=False:", kept)
assert two == ["image", "label"]
assert one == ["image"]
assert kept == ["image", "label"]
EOF

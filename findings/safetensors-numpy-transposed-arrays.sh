#!/usr/bin/env bash
# safetensors 0.8.0: safetensors.numpy saves a transposed array with its values in the
# wrong places.
#
# Expected: load(save({"a": a})) gives back a, or an error as safetensors.torch raises
#   for a tensor that is not contiguous.
# Happens: the raw memory is written beside the shape of the view. A transposed,
#   Fortran-ordered or strided array comes back with the same shape and dtype and other
#   values, with no warning.
# Matters: weights, class statistics and feature banks are saved this way, and
#   transposes are everywhere: HWC to CHW images, a linear layer from another framework,
#   numpy.linalg results. The file loads and the model is wrong.
# Instead: wrap each array in numpy.ascontiguousarray before saving.
#
# Output seen when this was written:
#   safetensors 0.8.0
#   contiguous: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#   transposed: [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] -> [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
#   Fortran order: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]
#   every other column: [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]] -> [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  safetensors==0.8.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("safetensors",)))

import numpy as np
from safetensors.numpy import load, save

table = np.arange(6.0).reshape(2, 3)
cases = {
    "contiguous": table,
    "transposed": table.T,
    "Fortran order": np.asfortranarray(table),
    "every other column": np.arange(12.0).reshape(2, 6)[:, ::2],
}
for name, array in cases.items():
    back = load(save({"a": array}))["a"]
    print(f"{name}: {array.tolist()} -> {back.tolist()}")
    assert back.shape == array.shape
    assert np.array_equal(back, array) == (name == "contiguous")
    assert np.array_equal(load(save({"a": np.ascontiguousarray(array)}))["a"], array)
EOF

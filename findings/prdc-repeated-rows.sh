#!/usr/bin/env bash
# prdc 0.2: a set against itself has precision, recall, density and coverage 0 once each
# row is there k+1 times.
#
# Expected: real and generated images that are the same set give precision, recall and
#   coverage 1.
# Happens: the radius of a row is the distance to its k-th neighbour, and a row must lie
#   strictly inside. With nearest_k=5 and each row there 6 times every radius is 0,
#   nothing lies inside, and all four figures fall from 1 to 0. Repeating only the real
#   rows makes precision, density and coverage 0 against any generated set.
# Matters: small forget sets are oversampled, and a model that has memorised or
#   collapsed repeats its images. Features with few values (saturated, quantised, class
#   scores) tie as well.
# Instead: drop repeated rows first (numpy.unique with axis=0) and report how many there
#   were.
#
# Output seen when this was written:
#   prdc 0.2 scikit-learn 1.9.1
#   figures: precision, recall, density, coverage
#   each row 1 times, against itself: [1.0, 1.0, 1.0, 1.0]
#   each row 5 times, against itself: [1.0, 1.0, 1.0, 1.0]
#   each row 6 times, against itself: [0.0, 0.0, 0.0, 0.0]
#   real rows 6 times, against another sample: [0.0, 1.0, 0.0, 0.0]
#   real rows once, against another sample: [0.98, 1.0, 0.938, 0.94]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  prdc==0.2 numpy==2.4.6 scikit-learn==1.9.1
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("prdc", "scikit-learn")))

import contextlib

import numpy as np
from prdc import compute_prdc


def prdc(real, fake):
    with contextlib.redirect_stdout(None):  # compute_prdc prints the sizes
        return [round(float(value), 3) for value in compute_prdc(real, fake, 5).values()]


rows = np.random.default_rng(0).integers(0, 100, (100, 8)).astype(float)
other = np.random.default_rng(1).integers(0, 100, (100, 8)).astype(float)
seen = {}
print("figures: precision, recall, density, coverage")
for copies in (1, 5, 6):
    repeated = rows.repeat(copies, axis=0)
    seen[copies] = prdc(repeated, repeated)
    print(f"each row {copies} times, against itself: {seen[copies]}")
apart = prdc(rows.repeat(6, axis=0), other)
once = prdc(rows, other)
print(f"real rows 6 times, against another sample: {apart}")
print(f"real rows once, against another sample: {once}")
assert set(seen[1]) == set(seen[5]) == {1.0}
assert set(seen[6]) == {0.0}
assert apart[0] == apart[2] == apart[3] == 0
assert once[0] > 0.5
EOF

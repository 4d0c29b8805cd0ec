#!/usr/bin/env bash
# torchmetrics 1.9.0: poly_mmd is wrong, with no error, when the two samples differ in
# size.
#
# Expected: the unbiased polynomial MMD of two samples from one Gaussian is near 0,
#   whatever their sizes.
# Happens: with m rows against n rows the function divides every sum by m, so it is
#   right at 50 against 50, far from 0 at 200 against 50, and off by about 11 at 50
#   against 200.
# Matters: poly_mmd is the core of the Kernel Inception Distance, and people call it on
#   its own when they have 200 real images and 50 generated ones. The wrong figure looks
#   like a bad generator.
# Instead: cut both samples to the same number of rows, or write the estimator out with
#   n and m as below.
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   50 against 50: poly_mmd -0.00, estimator with n and m -0.00
#   200 against 50: poly_mmd 0.67, estimator with n and m 0.00
#   50 against 200: poly_mmd 10.98, estimator with n and m -0.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "torchmetrics")))

import torch
from torchmetrics.image.kid import poly_mmd


def unbiased(x, y):
    def kernel(a, b):
        return (a @ b.T / x.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    return (
        (xx.sum() - xx.trace()) / (n * (n - 1))
        + (yy.sum() - yy.trace()) / (m * (m - 1))
        - 2 * kernel(x, y).mean()
    )


torch.manual_seed(0)
seen = {}
for n, m in ((50, 50), (200, 50), (50, 200)):
    pairs = [(torch.randn(n, 16), torch.randn(m, 16)) for _ in range(100)]
    seen[n, m] = sum(poly_mmd(*pair).item() for pair in pairs) / 100
    right = sum(unbiased(*pair).item() for pair in pairs) / 100
    print(f"{n} against {m}: poly_mmd {seen[n, m]:.2f}, estimator with n and m {right:.2f}")
    assert abs(right) < 0.05
assert abs(seen[50, 50]) < 0.05
assert seen[200, 50] > 0.4
assert seen[50, 200] > 5
EOF

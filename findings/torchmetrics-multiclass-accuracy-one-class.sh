#!/usr/bin/env bash
# torchmetrics 1.9.0: MulticlassAccuracy of 100 images with 90 right is 0.45.
#
# Expected: 90 right of 100 is an accuracy of 0.9, as accuracy(task="multiclass") gives.
# Happens: the class MulticlassAccuracy and the function multiclass_accuracy average
#   over classes by default, accuracy(task="multiclass") does not. Over images of one
#   class, a class that only appears among the predictions counts as a class with
#   accuracy 0, so 0.9 becomes 0.45; spread the ten mistakes over five classes and it
#   becomes 0.15.
# Matters: unlearning is measured as a judge's accuracy on images of the forgotten class
#   alone. The default makes forgetting look six times better than it is, and depends on
#   how the mistakes spread.
# Instead: always pass average="micro".
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0
#   90 right, mistakes in 1 classes: MulticlassAccuracy 0.45,
#     multiclass_accuracy 0.45, accuracy(task=...) 0.90, micro 0.90
#   90 right, mistakes in 5 classes: MulticlassAccuracy 0.15,
#     multiclass_accuracy 0.15, accuracy(task=...) 0.90, micro 0.90
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
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.classification import accuracy, multiclass_accuracy

labels = torch.full((100,), 3)
for mistakes, figure in ([4] * 10, 0.45), ([0, 1, 2, 4, 5] * 2, 0.15):
    said = torch.tensor([3] * 90 + mistakes)
    default = MulticlassAccuracy(num_classes=10)(said, labels).item()
    function = multiclass_accuracy(said, labels, num_classes=10).item()
    task = accuracy(said, labels, task="multiclass", num_classes=10).item()
    micro = MulticlassAccuracy(num_classes=10, average="micro")(said, labels).item()
    print(f"90 right, mistakes in {len(set(mistakes))} classes: MulticlassAccuracy {default:.2f},")
    print(f"  multiclass_accuracy {function:.2f}, accuracy(task=...) {task:.2f}, micro {micro:.2f}")
    assert abs(default - figure) < 1e-6
    assert abs(function - figure) < 1e-6
    assert abs(task - 0.9) < 1e-6
    assert abs(micro - 0.9) < 1e-6
EOF

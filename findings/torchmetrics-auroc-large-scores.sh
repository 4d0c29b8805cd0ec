#!/usr/bin/env bash
# torchmetrics 1.9.0: BinaryAUROC of perfectly ordered scores above about 17 is 0.5.
#
# Expected: the area under the ROC curve depends on the order of the scores alone, so
#   any increasing change of the scores leaves it at 1.
# Happens: if any score lies outside [0, 1], all are passed through a sigmoid in
#   float32, which is exactly 1 above about 17. The scores become ties and the area
#   becomes 0.5, with no warning. scikit-learn gives 1 on the same scores.
# Matters: a membership-inference attack on an unlearned diffusion model ranks images by
#   a loss summed over pixels, which is easily 20 or 200. An AUROC of 0.5 reads as "the
#   attack fails, the data is forgotten".
# Instead: pass ranks divided by their number, or use sklearn.metrics.roc_auc_score.
#
# Output seen when this was written:
#   torch 2.13.0+cpu torchmetrics 1.9.0 scikit-learn 1.9.1
#   scores [0.2, 0.3, 0.4, 0.5]: torchmetrics 1.0, scikit-learn 1.0
#   scores [2.0, 3.0, 4.0, 5.0]: torchmetrics 1.0, scikit-learn 1.0
#   scores [20.0, 30.0, 40.0, 50.0]: torchmetrics 0.5, scikit-learn 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6 scikit-learn==1.9.1
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "torchmetrics", "scikit-learn")))

import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC

member = torch.tensor([0, 0, 1, 1])
for scores in ([0.2, 0.3, 0.4, 0.5], [2.0, 3.0, 4.0, 5.0], [20.0, 30.0, 40.0, 50.0]):
    area = BinaryAUROC()(torch.tensor(scores), member).item()
    print(f"scores {scores}: torchmetrics {area}, scikit-learn {roc_auc_score(member, scores)}")
    assert roc_auc_score(member, scores) == 1
    assert area == (0.5 if scores[0] == 20 else 1)
EOF

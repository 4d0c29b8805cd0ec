#!/usr/bin/env bash
# diffusers 0.42.0: EMAModel(decay=0.9999) forgets its start at the first step and
# averages with decay 0.92 at step 100, although use_ema_warmup is False.
#
# Expected: with use_ema_warmup=False (the default) each step is 0.9999 * average +
#   0.0001 * weights, as decay=0.9999 says.
# Happens: the flag only chooses between two warm-ups. When it is False the decay is
#   min(decay, (1 + step) / (10 + step)), and 0 at the first step, which copies the
#   weights. 0.9999 is reached after about 90000 steps. min_decay=0.9999 does not save
#   the start either.
# Matters: short fine-tuning and unlearning runs of 100 to 2000 steps end with a decay
#   of 0.92 to 0.995. The "EMA weights" are nearly the last weights, and the pretrained
#   start, of which an average with decay 0.9999 keeps 99 per cent after 100 steps, is
#   gone.
# Instead: report cur_decay_value, or average with average.lerp_(weights, 1 - decay).
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   weights 0 at the start and 1 for 100 steps, decay 0.9999
#   average by the formula 0.0100
#   EMAModel: 1.0000 after 1 step, 1.0000 after 100, with min_decay 1.0000
#   decay at the end 0.9174, (1 + 99) / (10 + 99) = 0.9174
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export DIFFUSERS_VERBOSITY=error
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers")))

import torch
from diffusers.training_utils import EMAModel


def average(steps, **options):
    weight = torch.nn.Parameter(torch.zeros(1))
    ema = EMAModel([weight], decay=0.9999, **options)
    with torch.no_grad():
        weight.fill_(1)
    for _ in range(steps):
        ema.step([weight])
    return ema.shadow_params[0].item(), ema.cur_decay_value


closed = 1 - 0.9999**100
print("weights 0 at the start and 1 for 100 steps, decay 0.9999")
print(f"average by the formula {closed:.4f}")
first, _ = average(1)
value, decay = average(100)
forced, _ = average(100, min_decay=0.9999)
print(f"EMAModel: {first:.4f} after 1 step, {value:.4f} after 100, with min_decay {forced:.4f}")
print(f"decay at the end {decay:.4f}, (1 + 99) / (10 + 99) = {100 / 109:.4f}")
assert first == value == forced == 1
assert abs(decay - 100 / 109) < 1e-6
EOF

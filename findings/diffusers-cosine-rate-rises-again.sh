#!/usr/bin/env bash
# diffusers 0.42.0: after num_training_steps the "cosine" learning rate climbs back to
# its start value.
#
# Expected: the rate falls from its start to 0 and stays at 0, as
#   get_scheduler("linear") does.
# Happens: the cosine is not cut off. With num_training_steps=100 the rate is 0 at step
#   100, half the start at 150 and the full start rate at 200.
# Matters: num_training_steps is easily too small: counted per epoch, before splitting
#   over devices, or kept when a run is resumed for more steps. The last part of the run
#   then trains with a growing rate and undoes the careful end.
# Instead: stop at num_training_steps, or cut the progress at 1 in an own LambdaLR.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   step        0, 50, 100, 150, 200
#   cosine rate [1.0, 0.5, 0.0, 0.5, 1.0]
#   linear rate [1.0, 0.5, 0.0, 0.0, 0.0]
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
from diffusers.optimization import get_scheduler


def rates(name):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimiser, num_warmup_steps=0, num_training_steps=100)
    seen = []
    for _ in range(201):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return [round(seen[step], 3) for step in (0, 50, 100, 150, 200)]


cosine, linear = rates("cosine"), rates("linear")
print("step        0, 50, 100, 150, 200")
print("cosine rate", cosine)
print("linear rate", linear)
assert cosine == [1, 0.5, 0, 0.5, 1]
assert linear == [1, 0.5, 0, 0, 0]
EOF

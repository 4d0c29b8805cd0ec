#!/usr/bin/env bash
# torch 2.13.0: vector_to_parameters takes a network out of the channels_last memory format.
#
# Expected: torch.nn.utils.parameters_to_vector and vector_to_parameters are inverses of each
#   other that change nothing but values, in whatever memory format the weights lie.
# Happens: parameters_to_vector raises for a network in channels_last, since it calls view. With
#   a vector that was made in another way, vector_to_parameters gives every convolution weights in
#   the usual format, without a word. The values are right, and the format is gone.
# Matters: averages of weights, posteriors over them and steps between two models are written
#   with these two. A network that was put in channels_last because its convolutions are faster
#   there is silently as slow as before.
# Instead: torch.cat([p.flatten() for p in parameters]), and copy the parts back with
#   p.copy_(part.view(p.shape)), which keeps the format.
#
# Output seen when this was written:
#   torch 2.13.0
#   parameters_to_vector: RuntimeError
#   channels_last before vector_to_parameters: True, after: False; values kept: True
#   channels_last after copy_: True; values kept: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.3.5
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

print("torch", version("torch").split("+")[0])
LAST = {"memory_format": torch.channels_last}
torch.manual_seed(0)
layer = torch.nn.Conv2d(3, 4, 3).to(**LAST)
values = layer.weight.detach().clone()
try:
    parameters_to_vector(layer.parameters())
    raised = "nothing"
except RuntimeError as error:
    raised = type(error).__name__
print(f"parameters_to_vector: {raised}")
vector = torch.cat([parameter.detach().flatten() for parameter in layer.parameters()])
before = layer.weight.is_contiguous(**LAST)
vector_to_parameters(vector, layer.parameters())
after, kept = layer.weight.is_contiguous(**LAST), torch.equal(layer.weight, values)
print(f"channels_last before vector_to_parameters: {before}, after: {after}; values kept: {kept}")
again = torch.nn.Conv2d(3, 4, 3).to(**LAST)
sizes = [parameter.numel() for parameter in again.parameters()]
with torch.no_grad():
    for parameter, part in zip(again.parameters(), vector.split(sizes), strict=True):
        parameter.copy_(part.view(parameter.shape))
stays, same = again.weight.is_contiguous(**LAST), torch.equal(again.weight, values)
print(f"channels_last after copy_: {stays}; values kept: {same}")
assert (raised, before, after, kept, stays, same) == ("RuntimeError", True, False, True, True, True)
EOF

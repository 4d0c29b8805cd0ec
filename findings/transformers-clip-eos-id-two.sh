#!/usr/bin/env bash
# transformers 5.23.0: a CLIPTextModel with eos_token_id=2 pools at the largest token
# id, and without an end token at position 0.
#
# Expected: pooler_output is the state at the first end token, as the config names it,
#   and a prompt without that token is an error.
# Happens: eos_token_id=2 stands for old checkpoints and switches to "position of the
#   largest id", so with the end token 2 in the prompt any ordinary word with a larger
#   id is pooled instead. With another eos_token_id that is not in the prompt, the state
#   of the first token is pooled, which is the same for all prompts.
# Matters: small CLIP models for tests get small vocabularies, where 2 is a common id of
#   the end token. SDXL and CLIP scores read the pooled state, so prompts that differ
#   after the start get one embedding.
# Instead: give the end token an id other than 2 and make sure that truncation keeps it.
#
# Output seen when this was written:
#   torch 2.13.0+cpu transformers 5.23.0
#   prompt 0 40 70 50 2 1, eos_token_id=2: pooled at position 2
#   prompt 0 40 70 50 3 1, eos_token_id=3: pooled at position 4
#   prompt 0 40 70 50 60 41, eos_token_id=3: pooled at position 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export TRANSFORMERS_VERBOSITY=error
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "transformers")))

import torch
from transformers import CLIPTextConfig, CLIPTextModel


def pooled_at(eos, prompt):
    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=100,
        eos_token_id=eos,
        bos_token_id=0,
        pad_token_id=1,
    )
    with torch.no_grad():
        out = CLIPTextModel(config).eval()(torch.tensor([prompt]))
    states = out.last_hidden_state[0]
    return int((states - out.pooler_output).abs().sum(dim=1).argmin())


two, three = pooled_at(2, [0, 40, 70, 50, 2, 1]), pooled_at(3, [0, 40, 70, 50, 3, 1])
absent = pooled_at(3, [0, 40, 70, 50, 60, 41])
print("prompt 0 40 70 50 2 1, eos_token_id=2: pooled at position", two)
print("prompt 0 40 70 50 3 1, eos_token_id=3: pooled at position", three)
print("prompt 0 40 70 50 60 41, eos_token_id=3: pooled at position", absent)
assert two == 2
assert three == 4
assert absent == 0
EOF

#!/usr/bin/env bash
# transformers 5.23.0: a CLIPTextModel saved by 5.23.0 loads with random weights in 4.57.1.
#
# Expected: a saved text encoder is the same model in both releases, as the config, the class
#   name and the file format are the same, or the older release refuses it.
# Happens: 5.23.0 writes the keys of CLIPTextModel without "text_model." (and those of
#   CLIPTextModelWithProjection with it). 4.57.1 finds none of its keys, logs a warning and
#   goes on with new random weights: the same prompt gives another output in each process. The
#   way back works, and CLIPTextModelWithProjection works both ways.
# Matters: CLIPTextModel is the text encoder of Stable Diffusion 1 and 2. A pipeline that was
#   fine-tuned or unlearned with the new release draws images in the old one that have nothing
#   to do with the prompt, which looks like thorough unlearning. Tools that read the file by
#   key break too.
# Instead: before sharing, rename the keys in model.safetensors back to "text_model.*" (both
#   releases read those), and compare one output after loading.
#
# Output seen when this was written:
#   saved by 5.23.0
#   CLIPTextModel: first key embeddings.position_embedding.weight
#   CLIPTextModelWithProjection: first key text_model.embeddings.position_embedding.weight
#   loaded by 5.23.0
#   CLIPTextModel: output as saved True, two loads equal True
#   CLIPTextModelWithProjection: output as saved True, two loads equal True
#   loaded by 4.57.1
#   CLIPTextModel: output as saved False, two loads equal False
#   CLIPTextModelWithProjection: output as saved True, two loads equal True
#   CLIPTextModel, keys renamed: output as saved True, two loads equal True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 numpy==2.4.6
"$work/venv/bin/pip" install -qq --disable-pip-version-check --target "$work/old" \
  transformers==4.57.1 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
cat >run.py <<'EOF'
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

config = CLIPTextConfig(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    vocab_size=100,
    projection_dim=8,
    bos_token_id=0,
    eos_token_id=3,
)
prompt = torch.tensor([[0, 40, 70, 3]])


@torch.no_grad()
def output(model):
    return model.eval()(prompt).last_hidden_state


def load(name, kind, as_saved):
    first, second = (output(kind.from_pretrained(name)) for _ in range(2))
    same = torch.allclose(first, torch.load(f"{name}.pt"), atol=1e-5)
    equal = torch.equal(first, second)
    print(f"{name}: output as saved {same}, two loads equal {equal}")
    assert same == equal == as_saved


kinds = {kind.__name__: kind for kind in (CLIPTextModel, CLIPTextModelWithProjection)}
old = transformers.__version__ == "4.57.1"
if sys.argv[1] == "save":
    print("saved by", transformers.__version__)
    for name, kind in kinds.items():
        torch.manual_seed(0)
        model = kind(config)
        model.save_pretrained(name)
        torch.save(output(model), f"{name}.pt")
        weights = load_file(f"{name}/model.safetensors")
        first = min(weights)
        print(f"{name}: first key {first}")
        assert first.startswith("text_model.") == (kind is CLIPTextModelWithProjection)
        if kind is CLIPTextModel:
            renamed = {f"text_model.{key}": tensor for key, tensor in weights.items()}
            model.save_pretrained(f"{name}, keys renamed")
            torch.save(output(model), f"{name}, keys renamed.pt")
            save_file(renamed, f"{name}, keys renamed/model.safetensors", {"format": "pt"})
else:
    print("loaded by", transformers.__version__)
    for name, kind in kinds.items():
        load(name, kind, as_saved=not old or kind is CLIPTextModelWithProjection)
    if old:
        load("CLIPTextModel, keys renamed", CLIPTextModel, as_saved=True)
EOF
"$work/venv/bin/python" -W ignore run.py save
"$work/venv/bin/python" -W ignore run.py load
PYTHONPATH="$work/old" "$work/venv/bin/python" -W ignore run.py load

#!/usr/bin/env bash
# transformers 5.23.0: a CLIPTokenizer without model_max_length neither pads nor
# truncates, although both are asked for.
#
# Expected: padding="max_length" and truncation=True give 77 tokens, CLIP's length, or
#   an error that no length is known.
# Happens: without model_max_length in its config the tokenizer takes 1e30 as its length
#   and skips both, with nothing logged. "a b" becomes 4 tokens, 100 words become 102.
# Matters: Stable Diffusion attends to the padding, so 4 tokens instead of 77 draw
#   another image from the same prompt and weights. A tokenizer folder rebuilt from
#   vocab.json and merges.txt alone lacks the setting.
# Instead: pass max_length=77 in the call, or model_max_length=77 when loading.
#
# Output seen when this was written:
#   transformers 5.23.0
#   model_max_length 1e+30: 2 words -> 4 tokens, 100 words -> 102 tokens
#   model_max_length 77: 2 words -> 77 tokens, 100 words -> 77 tokens
#   logged: ''
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  transformers==5.23.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("transformers",)))

import io
import json
import logging
import os

from transformers import CLIPTokenizer
from transformers.utils.logging import add_handler

said = io.StringIO()
add_handler(logging.StreamHandler(said))
letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
tokens = letters + [f"{letter}</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
os.makedirs("tokenizer")
with open("tokenizer/vocab.json", "w") as file:
    json.dump({token: number for number, token in enumerate(tokens)}, file)
with open("tokenizer/merges.txt", "w") as file:
    file.write("#version: 0.2\n")
plain = CLIPTokenizer.from_pretrained("tokenizer")
fixed = CLIPTokenizer.from_pretrained("tokenizer", model_max_length=77)
seen = {}
for name, tokenizer in (("plain", plain), ("fixed", fixed)):
    for text in ("a b", "a " * 100):
        ids = tokenizer(text, padding="max_length", truncation=True).input_ids
        seen[name, len(text.split())] = len(ids)
    print(f"model_max_length {tokenizer.model_max_length:g}: ", end="")
    print(f"2 words -> {seen[name, 2]} tokens, 100 words -> {seen[name, 100]} tokens")
print(f"logged: {said.getvalue()!r}")
assert (seen["plain", 2], seen["plain", 100]) == (4, 102)
assert (seen["fixed", 2], seen["fixed", 100]) == (77, 77)
assert said.getvalue() == ""
EOF

#!/usr/bin/env bash
# eval-unlearn 1.1.2: ua_ira counts prompts to keep as prompts to forget, and IRA becomes 0.
#
# Expected: with 40 prompts to forget and 40 to keep, UA is the share of the first 40 and
#   IRA that of the other 40, whatever the batch size.
# Happens: load_ua_ira_csv gives each batch the index in the whole list at which the prompts
#   to keep begin, and update() cuts every batch there. Batches have 32 prompts by default.
#   With 40 and 40 all 80 images count towards UA, none towards IRA, and IRA is reported as
#   0.0. With 20 and 20 eight kept images count towards UA. No warning is given.
# Matters: UA and IRA are how unlearned text-to-image models are ranked. A model that keeps
#   everything scores IRA 0, and one that forgets nothing gains UA from the kept prompts.
# Instead: set batch_size of the metric to the number of all prompts, or more, and check
#   target_total and retain_total in the report.
#
# Output seen when this was written:
#   torch 2.13.0+cpu transformers 5.23.0 eval-unlearn 1.1.2
#   40 to forget, 40 to keep, batch_size default: counted 80 and 0, IRA 0.0
#   20 to forget, 20 to keep, batch_size default: counted 28 and 12, IRA 1.0
#   16 to forget, 16 to keep, batch_size default: counted 16 and 16, IRA 1.0
#   40 to forget, 40 to keep, batch_size 80: counted 40 and 40, IRA 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  eval-unlearn==1.1.2 torch==2.13.0 transformers==5.23.0 diffusers==0.42.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
cat >run.py <<'PYTHON'
from importlib.metadata import version

names = ("torch", "transformers", "eval-unlearn")
print(*(f"{name} {version(name)}" for name in names))

import json
import logging
import os

import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
logging.disable()

# A CLIP of random weights, in a folder named as the one on the hub. It takes every image
# for red, as if a model had forgotten blue things and kept red ones.
clip = "openai/clip-vit-base-patch32"
os.makedirs(clip)
letters = "abcdefghijklmnopqrstuvwxyz"
words = [*letters, *(letter + "</w>" for letter in letters)]
words += ["<|startoftext|>", "<|endoftext|>"]
with open("vocab.json", "w") as file:
    json.dump({word: place for place, word in enumerate(words)}, file)
with open("merges.txt", "w") as file:
    file.write("#version: 0.2\n")
CLIPTokenizer("vocab.json", "merges.txt", model_max_length=77).save_pretrained(clip)
CLIPImageProcessorPil().save_pretrained(clip)
size = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
torch.manual_seed(0)
config = CLIPConfig(
    text_config=size | {"vocab_size": len(words), "eos_token_id": len(words) - 1},
    vision_config=size | {"image_size": 224, "patch_size": 32},
    projection_dim=8,
)
CLIPModel(config).save_pretrained(clip)

from eval_unlearn.metrics.ua_ira import UAIRAMetric


def counts(target, kept, **batches):
    for name, count, colour in ("target", target, "blue"), ("kept", kept, "red"):
        with open(f"{name}.csv", "w") as file:
            file.write("prompt\n" + f"a {colour} shoe\n" * count)
    metric = UAIRAMetric(
        clip_model_name=clip,
        target_prompts_path="target.csv",
        retain_prompts_path="kept.csv",
        target_concept="blue",
        retain_concept="red",
        device="cpu",
        **batches,
    )
    for batch in metric.load_dataset():  # as the runners do it
        images = [Image.new("RGB", (32, 32))] * len(batch.prompts)
        metric.update(images, batch.prompts, batch.metadata)
    found = metric.compute().details
    size = batches.get("batch_size", "default")
    print(
        f"{target} to forget, {kept} to keep, batch_size {size}: counted "
        f"{found['target_total']} and {found['retain_total']}, IRA {found['ira_score']}"
    )
    return found["target_total"], found["retain_total"], found["ira_score"]


assert counts(40, 40) == (80, 0, 0.0)
assert counts(20, 20) == (28, 12, 1.0)
assert counts(16, 16) == (16, 16, 1.0)
assert counts(40, 40, batch_size=80) == (40, 40, 1.0)
PYTHON
"$work/venv/bin/python" -W ignore run.py

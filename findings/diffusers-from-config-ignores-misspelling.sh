#!/usr/bin/env bash
# diffusers 0.42.0: from_config ignores a misspelled keyword without a word.
#
# Expected: DDIMScheduler.from_config(config, timestep_spacin="trailing") raises
#   TypeError as DDIMScheduler(timestep_spacin="trailing") does, or at least warns.
# Happens: nothing is raised and nothing is logged, while the same unknown name inside
#   the config is logged as a warning. The scheduler or model is built with the default,
#   and the misspelled name is in no config either.
# Matters: from_config(pipe.scheduler.config, ...) is the way to change a sampler, and
#   UNet2DModel.from_config(config, num_class_embed=10) builds an unconditional model.
#   The experiment runs with the old setting under a new name.
# Instead: compare the value in the new .config with what was asked for.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   timestep_spacing: leading
#   class embedding: None
#   misspelled name kept in the config: False
#   logged for the two keywords: ''
#   logged for the name inside the config: "The config attributes {'num_class_embed': 10} were"...
#   constructor: DDIMScheduler.__init__() got an unexpected keyword argument 'timestep_spacin'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers")))

import io
import logging

from diffusers import DDIMScheduler, UNet2DModel
from diffusers.utils.logging import add_handler, disable_default_handler

tiny = UNet2DModel(
    block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
)
disable_default_handler()
said = io.StringIO()
add_handler(logging.StreamHandler(said))
config = dict(DDIMScheduler().config)
scheduler = DDIMScheduler.from_config(config, timestep_spacin="trailing")
model = UNet2DModel.from_config(tiny.config, num_class_embed=10)
silent = said.getvalue()
UNet2DModel.from_config({**tiny.config, "num_class_embed": 10})
print("timestep_spacing:", scheduler.config.timestep_spacing)
print("class embedding:", model.class_embedding)
print("misspelled name kept in the config:", "timestep_spacin" in scheduler.config)
print(f"logged for the two keywords: {silent!r}")
print(f"logged for the name inside the config: {said.getvalue()[:50]!r}...")
try:
    DDIMScheduler(timestep_spacin="trailing")
    raised = False
except TypeError as error:
    raised = True
    print("constructor:", error)
assert scheduler.config.timestep_spacing == "leading"
assert model.class_embedding is None
assert silent == ""
assert "num_class_embed" in said.getvalue()
assert raised
EOF

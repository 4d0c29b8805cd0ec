#!/usr/bin/env bash
# diffusers 0.42.0: EulerDiscreteScheduler.from_config gives other timesteps once the
# source scheduler has been saved and loaded.
#
# Expected: a scheduler that was saved and loaded is the same scheduler, so from_config
#   on it gives the same result.
# Happens: a config remembers which settings were defaults, and from_config replaces
#   those by the defaults of the new class. The saved file lacks that memory. A
#   DDIMScheduler() in memory becomes an Euler scheduler with "linspace" spacing (999,
#   749, ...), the same one from its folder one with "leading" spacing (800, 600, ...).
# Matters: a script that trains, swaps the sampler and draws images, and a second script
#   that loads the folder, swaps the sampler and draws images, disagree. It looks as if
#   saving had damaged the model.
# Instead: pass timestep_spacing and every other setting that matters in each
#   from_config call.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0
#   in memory: DDIM leading, Euler linspace
#     Euler timesteps [999.0, 749.25, 499.5, 249.75, 0.0]
#   loaded: DDIM leading, Euler leading
#     Euler timesteps [800.0, 600.0, 400.0, 200.0, 0.0]
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

from diffusers import DDIMScheduler, EulerDiscreteScheduler

memory = DDIMScheduler()
memory.save_pretrained("scheduler")
loaded = DDIMScheduler.from_pretrained("scheduler")
seen = {}
for name, source in (("in memory", memory), ("loaded", loaded)):
    euler = EulerDiscreteScheduler.from_config(source.config)
    euler.set_timesteps(5)
    seen[name] = euler.timesteps.tolist()
    print(f"{name}: DDIM {source.config.timestep_spacing}, Euler {euler.config.timestep_spacing}")
    print(f"  Euler timesteps {seen[name]}")
assert memory.config.timestep_spacing == loaded.config.timestep_spacing
assert seen["in memory"] == [999, 749.25, 499.5, 249.75, 0]
assert seen["loaded"] == [800, 600, 400, 200, 0]
EOF

#!/usr/bin/env bash
# PyYAML 6.0.4: a learning rate written as 1e-4 is read as text, one written as 1.0e-4 as a number.
#
# Expected: 1e-4, as Python, JSON and YAML 1.2 read it, is the number 0.0001.
# Happens: safe_load follows YAML 1.1, whose numbers need a point: 1e-4 and 3e5 become str, 1.0e-4 a float; and its
#   own safe_dump writes 1e-4 back as 0.0001, so a file that was once dumped reads well.
# Matters: a file of settings with `step_size: 1e-4` gives a string, which fails far from the file or is compared as one.
# Instead: convert the values of fields that are numbers, or write 1.0e-4 or 0.0001.
#
# Output seen when this was written:
#   pyyaml 6.0.4
#   1e-4: str, 3e5: str, 1.0e-4: float, 0.0001: float
#   json reads 1e-4 as float
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check pyyaml==6.0.4
cd "$work"
"$work/venv/bin/python" - <<'PY'
import json
from importlib.metadata import version

import yaml

print("pyyaml", version("pyyaml"))
kinds = {text: type(yaml.safe_load(f"step_size: {text}")["step_size"]).__name__ for text in ("1e-4", "3e5", "1.0e-4", "0.0001")}
print(", ".join(f"{text}: {kind}" for text, kind in kinds.items()))
print("json reads 1e-4 as", type(json.loads("1e-4")).__name__)
assert kinds == {"1e-4": "str", "3e5": "str", "1.0e-4": "float", "0.0001": "float"}
assert yaml.safe_load(yaml.safe_dump(1e-4)) == json.loads("1e-4")
PY

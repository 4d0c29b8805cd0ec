#!/usr/bin/env bash
# diffusers 0.42.0: a RePaintScheduler with trained_betas can be saved, and not be loaded again.
#
# Expected: from_pretrained reads what save_pretrained has written, as for other schedulers.
# Happens: the constructor of RePaintScheduler takes a NumPy array alone; save_pretrained
#   writes the array as a list, and from_pretrained hands this list to the constructor.
# Matters: an inpainting pipeline with betas of its own is lost with the process that made it.
# Instead: load the betas from scheduler_config.json, and give them as an array:
#   RePaintScheduler.from_pretrained(folder, trained_betas=numpy.array(betas)).
#
# Output seen when this was written:
#   DDPMScheduler: loaded
#   RePaintScheduler: TypeError: expected np.ndarray (got list)
#   RePaintScheduler, betas given as an array: loaded
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.13.0 diffusers==0.42.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'P' 2> /dev/null
import numpy as np
from diffusers import DDPMScheduler, RePaintScheduler

said = {}
for kind in (DDPMScheduler, RePaintScheduler):
    kind(trained_betas=np.linspace(1e-4, 0.02, 1000, dtype=np.float32)).save_pretrained(kind.__name__)
    try:
        kind.from_pretrained(kind.__name__)
        said[kind.__name__] = "loaded"
    except TypeError as error:
        said[kind.__name__] = f"TypeError: {error}"
    print(f"{kind.__name__}: {said[kind.__name__]}")
RePaintScheduler.from_pretrained("RePaintScheduler", trained_betas=np.linspace(1e-4, 0.02, 1000, dtype=np.float32))
print("RePaintScheduler, betas given as an array: loaded")
assert said["DDPMScheduler"] == "loaded" and "np.ndarray" in said["RePaintScheduler"]
P

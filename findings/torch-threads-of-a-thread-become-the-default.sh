#!/usr/bin/env bash
# torch 2.13.0: the number of threads that one thread sets for itself is the number with which
# every thread begins that is started later.
#
# Expected: torch.set_num_threads, called in a thread, holds for that thread, as OpenMP's own
#   setting does: the main thread keeps its number. So a new thread begins with the usual number.
# Happens: the main thread does keep its number, but a thread that is started afterwards begins with
#   the number that the other one set for itself, although that one has ended.
# Matters: workers with one thread each make everything that a server starts later run on one core.
# Instead: when the workers have ended, set the usual number again, in any thread.
#
# Output seen when this was written:
#   torch 2.13.0
#   a new thread begins with 4, and with 1 after another one has set 1 for itself; main: 4
#   after the main thread has set 4 again: 4
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.3.5
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import torch

print("torch", version("torch").split("+")[0])


def in_new_thread(function, *given):
    """What a function returns in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *given).result()


torch.set_num_threads(4)
torch.ones(200, 200) @ torch.ones(200, 200)  # the main thread has computed before
before = in_new_thread(torch.get_num_threads)
in_new_thread(torch.set_num_threads, 1)
after, main = in_new_thread(torch.get_num_threads), torch.get_num_threads()
print(f"a new thread begins with {before}, and with {after} after another one has set 1 for itself; main: {main}")
torch.set_num_threads(4)
mended = in_new_thread(torch.get_num_threads)
print(f"after the main thread has set 4 again: {mended}")
assert (before, after, main, mended) == (4, 1, 4, 4)
EOF

#!/usr/bin/env bash
# gradio 6.31.0: `import gradio` parses the source files of its own components, over a hundred
# times, although their type stubs are installed and up to date.
#
# Expected: an import runs compiled code. Stubs (.pyi) are for editors; the wheel brings them.
# Happens: for every class of a component the source file and the stub are read and parsed again,
#   and compared with a stub made anew. About half of the processor time of the import goes there,
#   in every process: each start of an app, each worker, each test.
# Matters: a page's cold start, and test suites that start many processes.
# Instead: gradio leaves out classes of which `inspect.getfile` raises OSError, as for a class typed
#   in a notebook. A test suite or an app may let it do so while gradio is imported.
#
# Output seen when this was written:
#   gradio 6.31.0
#   sources parsed by `import gradio`: 162; stubs that changed: 0
#   with no file for gradio's classes: 0; share of the processor time: 0.55
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check gradio==6.31.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" GRADIO_ANALYTICS_ENABLED=False
cd "$work"
cat > count.py <<'EOF'
import ast
import hashlib
import inspect
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

folder = Path(find_spec("gradio").submodule_search_locations[0])


def stubs():
    """The contents of all stubs."""
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*.pyi")}


parse, file_of, parsed = ast.parse, inspect.getfile, []


def counted(source, *given, **named):
    """`ast.parse`, noting the sources that hold a class of a component."""
    if isinstance(source, str) and "\nclass " in f"\n{source}":
        parsed.append(source)
    return parse(source, *given, **named)


def no_file(part):
    """`inspect.getfile`, for which gradio's classes are in no file."""
    if isinstance(part, type) and part.__module__.startswith("gradio."):
        raise OSError
    return file_of(part)


ast.parse = counted
if "no-file" in sys.argv:
    inspect.getfile = no_file
before, started = stubs(), time.process_time()
import gradio

print(len(parsed), sum(before.get(path) != found for path, found in stubs().items()), time.process_time() - started)
EOF
"$work/venv/bin/python" -W ignore count.py >/dev/null # compiles what pip has left, and may write stubs
"$work/venv/bin/python" -W ignore - <<'EOF'
import subprocess
import sys
from importlib.metadata import version


def run(*words):
    """What one import in a fresh process gives."""
    done = subprocess.run([sys.executable, "-W", "ignore", "count.py", *words], capture_output=True, text=True, check=True)
    parsed, changed, seconds = done.stdout.split()
    return int(parsed), int(changed), float(seconds)


print("gradio", version("gradio"))
parsed, changed, seconds = run()
print(f"sources parsed by `import gradio`: {parsed}; stubs that changed: {changed}")
without, _, less = run("no-file")
print(f"with no file for gradio's classes: {without}; share of the processor time: {less / seconds:.2f}")
assert parsed > 100 and changed == 0
assert without < 10
EOF

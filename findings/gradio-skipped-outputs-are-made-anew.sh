#!/usr/bin/env bash
# gradio 6.31.0: an output that a handler skips is constructed anew, at each step of a generator.
#
# Expected: gr.skip(), or a dictionary that names the one component that changes, leaves the other
#   outputs alone and costs nothing for them.
# Happens: a skipped output is treated as an update without changes: its constructor is called and
#   its configuration made again, in the thread that answers all visitors.
# Matters: a run shows its progress by a generator with one status line and all charts as outputs.
#   With 40 outputs a step takes tens of milliseconds of Python, many times what the line alone
#   takes, while nobody else is answered; thirty waiting visitors slow everything down.
# Instead: give a status line a listener of its own, or override Blocks.postprocess_data so that
#   it sees only the outputs that change.
#
# Output seen when this was written:
#   gradio 6.31.0
#   5 steps that name 1 of 40 outputs: 195 constructor calls
#   5 steps with the one output alone: 0 constructor calls
#   time per step: more than 5 times that of the one output alone
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check gradio==6.31.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" GRADIO_ANALYTICS_ENABLED=False
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import asyncio
import functools
import time
from importlib.metadata import version

print("gradio", version("gradio"))

import gradio as gr
from gradio.state_holder import SessionState

STEPS, OUTPUTS = 5, 40
made = 0


construct = gr.HTML.__init__


@functools.wraps(construct)
def counted(self, *arguments, **named):
    """Construct an HTML component, and count it."""
    global made
    made += 1
    construct(self, *arguments, **named)


gr.HTML.__init__ = counted

with gr.Blocks() as demo:
    parts = [gr.HTML() for _ in range(OUTPUTS)]
    gr.Button().click(lambda: None, None, parts)
    gr.Button().click(lambda: None, None, parts[0])
many, one = list(demo.fns.values())[-2:]


def steps(function, answer):
    """Constructor calls and seconds of some steps that answer the same."""
    global made
    session = SessionState(demo)
    asyncio.run(demo.postprocess_data(function, answer("first"), session))
    made, started = 0, time.perf_counter()
    for step in range(STEPS):
        asyncio.run(demo.postprocess_data(function, answer(f"step {step}"), session))
    return made, time.perf_counter() - started


(of_many, long), (of_one, short) = steps(many, lambda text: {parts[0]: text}), steps(one, lambda text: text)
print(f"{STEPS} steps that name 1 of {OUTPUTS} outputs: {of_many} constructor calls")
print(f"{STEPS} steps with the one output alone: {of_one} constructor calls")
print(f"time per step: {'more than' if long > 5 * short else 'at most'} 5 times that of the one output alone")
assert of_many == STEPS * (OUTPUTS - 1)
assert of_one == 0
assert long > 5 * short
EOF

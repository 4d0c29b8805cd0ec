#!/usr/bin/env bash
# gradio 6.31.0: what a validator refuses by raising gr.Error is printed on the server's standard
# output, also with print_exception=False.
#
# Expected: gr.Error(..., print_exception=False) is shown to the visitor and leaves nothing in the
#   server's log, as it does where a handler raises it.
# Happens: raised in the validator of a listener, its words are printed.
# Matters: an error quotes what the visitor typed. A server that keeps no record of its visitors'
#   words keeps them in its log after all.
# Instead: quote nothing in a validator's errors, or return gr.validate(False, ...), which is not
#   printed.
#
# Output seen when this was written:
#   gradio 6.31.0
#   raised by the handler: the client is told, printed: no
#   raised by the validator: the client is told, printed: yes
#   returned by the validator: the client is told, printed: no
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check gradio==6.31.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" GRADIO_ANALYTICS_ENABLED=False
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import contextlib
import io
from importlib.metadata import version

print("gradio", version("gradio"))

import gradio as gr
import httpx

WORDS = "no class 'my words'"


def refuse(text):
    raise gr.Error(WORDS, print_exception=False)


with gr.Blocks() as demo:
    text, shown = gr.Textbox(), gr.Textbox()
    go = [gr.Button() for _ in range(3)]
    go[0].click(refuse, text, shown)
    go[1].click(lambda given: given, text, shown, validator=refuse)
    go[2].click(lambda given: given, text, shown, validator=lambda given: gr.validate(False, WORDS))
_, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, show_error=True)
found = {}
for number, name in enumerate(("raised by the handler", "raised by the validator", "returned by the validator")):
    printed, session = io.StringIO(), f"session{number}"
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        call = {"fn_index": number, "data": ["my words"], "session_hash": session}
        answer = httpx.post(f"{address}gradio_api/queue/join", json=call)
        said = answer.text
        if answer.status_code == 200:
            with httpx.stream("GET", f"{address}gradio_api/queue/data", params={"session_hash": session}) as stream:
                for line in stream.iter_lines():
                    said += line
                    if "process_completed" in line:
                        break
    told, kept = WORDS in said, WORDS in printed.getvalue()
    found[name] = (told, kept)
    print(f"{name}: the client is {'told' if told else 'not told'}, printed: {'yes' if kept else 'no'}")
demo.close(verbose=False)
assert found == {
    "raised by the handler": (True, False),
    "raised by the validator": (True, True),
    "returned by the validator": (True, False),
}
EOF

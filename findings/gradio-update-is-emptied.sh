#!/usr/bin/env bash
# gradio 6.31.0: a gr.update that a handler returns is emptied, so that the same object sets a
# value only once.
#
# Expected: what a function returns is read. A handler that keeps its answers, by functools.cache
#   or in a dictionary, answers the second time as it did the first time.
# Happens: the value is taken out of the dictionary that the function returned. The second answer
#   is an update without a value: the component stays as it is, without an error.
# Matters: a page caches what is slow to make (a chart, a list of classes). The first visitor sees
#   it, each later one sees what the page showed before, for another model.
# Instead: return a copy, or a plain value where nothing but the value changes.
#
# Output seen when this was written:
#   gradio 6.31.0
#   gr.update, kept and returned twice: 7, then no value; kept now: {'__type__': 'update'}
#   a copy of it, returned twice: 7, then 7
#   a plain value, returned twice: 7, then 7
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check gradio==6.31.0
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" GRADIO_ANALYTICS_ENABLED=False
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print("gradio", version("gradio"))

import gradio as gr
from gradio_client import Client

kept = gr.update(value=7)

with gr.Blocks() as demo:
    shown = gr.Number()
    gr.Button().click(lambda: kept, None, shown, api_name="kept")
    gr.Button().click(lambda: dict(gr.update(value=7)), None, shown, api_name="copy")
    gr.Button().click(lambda: 7, None, shown, api_name="plain")
_, address, _ = demo.launch(prevent_thread_lock=True, quiet=True)
client = Client(address, verbose=False)


def twice(name):
    """What two calls in a row set."""
    answers = [client.predict(api_name=f"/{name}") for _ in range(2)]
    return [answer.get("value") if isinstance(answer, dict) else answer for answer in answers]


of_kept, of_copy, of_plain = map(twice, ("kept", "copy", "plain"))
words = ["no value" if value is None else f"{value:g}" for value in of_kept]
print(f"gr.update, kept and returned twice: {words[0]}, then {words[1]}; kept now: {kept}")
print("a copy of it, returned twice: {:g}, then {:g}".format(*of_copy))
print("a plain value, returned twice: {:g}, then {:g}".format(*of_plain))
demo.close(verbose=False)
assert of_kept == [7, None] and "value" not in kept
assert of_copy == of_plain == [7, 7]
EOF

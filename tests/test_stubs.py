"""Gradio is imported without its type stubs, and is otherwise the same."""

import inspect
import json
import subprocess
import sys

# Counts the sources that gradio parses while it is imported, and names the events of its components.
IMPORT = """
import ast, json, sys
from vdu.stubs import no_stubs

parsed, parse = [], ast.parse
ast.parse = lambda *given, **named: parsed.append(1) or parse(*given, **named)
with no_stubs():
    import gradio
print(json.dumps([len(parsed), len(gradio.Slider.EVENTS), gradio.Slider.release.__name__]))
"""


def test_no_component_is_parsed_and_all_have_their_events():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    parsed, events, name = json.loads(done.stdout.splitlines()[-1])
    assert parsed < 10
    assert events >= 3
    assert name


def test_afterwards_every_class_has_its_file_again():
    import gradio as gr

    assert inspect.getfile(gr.Slider).endswith("slider.py")

"""Rules for all code: short files, a shallow graph of imports without cycles, gradio only in the page."""

import ast
import json
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from forking import python
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES, MOST_STOREYS = 330, 12
SOURCES = sorted(path for top in ("app.py", "setup.py", "vdu", "tests")
                 for path in ([ROOT / top] if top.endswith(".py") else (ROOT / top).rglob("*.py")))  # fmt: skip
IN_PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "vdu")]

# Imports every module of vdu where there is neither gradio nor what only POSIX has; then the page, with gradio.
IMPORT_ALL = """
import importlib, json, os, sys, traceback
import torch, diffusers, transformers, huggingface_hub, matplotlib.figure, psutil  # may want more of a POSIX system than we do

failed = {}

def import_all(names, rule):
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            failed[name] = [rule, traceback.format_exc()[-600:]]

names = sys.argv[1:]
in_page = [name for name in names if name.split(".")[1:2] == ["page"]]
sys.modules |= dict.fromkeys(["resource", "fcntl", "pwd", "grp", "termios"])
gradio = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "gradio"}
sys.modules["gradio"] = None
import_all([name for name in names if name not in in_page], "without gradio")
del sys.modules["gradio"]
sys.modules |= gradio
posix = {name: sys.modules.pop(name) for name in ["resource", "fcntl", "pwd", "grp", "termios"]}
from vdu.stubs import no_stubs
with no_stubs():
    import gradio
sys.modules |= posix
import_all(in_page, "without POSIX")
print(json.dumps(failed))
"""


def module_of(path):
    """Dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def storey_of(module):
    """The storey of a module: its package, or the module itself outside of packages: "vdu.page", "vdu.recipe", "app"."""
    return ".".join(module.split(".")[:2])


def imports_of(path):
    """Dotted names that a file imports at import time, not in functions or under TYPE_CHECKING."""
    names, found = {module_of(other) for other in SOURCES}, set()

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                found.update(name if name in names else node.module for name in inside)
            elif isinstance(node, ast.If):
                walk(node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else [*node.body, *node.orelse])
            elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
                walk(ast.iter_child_nodes(node))

    walk(ast.parse(path.read_text()).body)
    return found


@cache
def graph():
    """Storey -> the storeys that it imports."""
    edges = {}
    for path in [ROOT / "app.py", *IN_PACKAGE]:
        storey = storey_of(module_of(path))
        ours = {storey_of(name) for name in imports_of(path) if name.split(".")[0] == "vdu"}
        edges.setdefault(storey, set()).update(ours - {storey, "vdu"})
    return edges


def highest_way(edges):
    """The longest chain of imports, top first.

    Raises:
        ValueError: if there is a circle, which is named.
    """
    longest = {}

    def below(storey, way):
        if storey in way:
            raise ValueError(" -> ".join([*way[way.index(storey) :], storey]))
        if storey not in longest:
            ways = [below(other, [*way, storey]) for other in sorted(edges.get(storey, ()))]
            longest[storey] = [storey, *max(ways, key=len, default=[])]
        return longest[storey]

    return max((below(storey, []) for storey in sorted(edges)), key=len)


@pytest.fixture(scope="module")
def failed_imports():
    modules = [module_of(path) for path in IN_PACKAGE if path.stem != "__main__"]
    done = python(IMPORT_ALL, *modules)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_can_be_imported_without_gradio_and_posix(failed_imports):
    assert not failed_imports, "\n".join(f"{name}: {why} {trace}" for name, (why, trace) in failed_imports.items())


def test_no_file_is_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_imports_make_no_circle_and_few_storeys():
    way = highest_way(graph())
    assert len(way) <= MOST_STOREYS, " -> ".join(way)


def test_a_circle_of_imports_is_found():
    with pytest.raises(ValueError, match="a -> b -> a"):
        highest_way({"a": {"b"}, "b": {"a"}})
    assert highest_way({"a": {"b", "c"}, "b": {"c"}}) == ["a", "b", "c"]


def test_gradio_is_imported_by_the_page_alone():
    outside = [path for path in IN_PACKAGE if not path.is_relative_to(ROOT / "vdu" / "page")]
    guilty = [module_of(path) for path in outside for node in ast.walk(ast.parse(path.read_text()))
              if "gradio" in {alias.name.split(".")[0] for alias in getattr(node, "names", ()) if isinstance(node, ast.Import)}
              or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gradio")]  # fmt: skip
    assert guilty == []


def test_without_extras_everything_but_page_and_charts_can_be_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {
        {"pillow": "PIL", "pyyaml": "yaml"}.get(name := Requirement(line).name, name) for line in project["dependencies"]
    }
    installed |= {"tokenizers"}  # comes with transformers
    optional = ("vdu.page", "vdu.charts")
    missing = {
        (module_of(path), name)
        for path in IN_PACKAGE
        if storey_of(module_of(path)) not in optional
        for name in imports_of(path)
        if storey_of(name) in optional or name.split(".")[0] not in {*sys.stdlib_module_names, *installed, "vdu"}
    }
    assert missing == set()

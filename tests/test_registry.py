"""Modules of a package are found by what they declare, in order."""

import sys

import pytest

from vdu import methods, models
from vdu.methods import METHODS
from vdu.models import FAMILIES
from vdu.registry import collect


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four modules, two of which declare something."""
    folder = tmp_path / "package_of_a_test"
    folder.mkdir()
    for name, text in (("__init__", ""), ("zebra", "WHAT = 'z'"), ("ant", "WHAT = 'a'"), ("helper", "OTHER = 1")):
        (folder / f"{name}.py").write_text(text)
    (folder / "notes.txt").write_text("WHAT = 'no module'")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_modules_come_in_the_order_of_their_names_and_those_without_are_passed_over(package):
    assert list(collect(package, "WHAT")) == [("ant", "a"), ("zebra", "z")]
    assert list(collect(sys.modules[package], "OTHER")) == [("helper", 1)]
    assert list(collect(package, "NOTHING")) == []


def test_a_broken_module_is_not_passed_over(package, tmp_path):
    (tmp_path / package / "broken.py").write_text("import nothing_of_that_name")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        list(collect(package, "WHAT"))


def test_methods_and_families_are_found_by_their_files():
    found = dict(collect(methods, "METHOD"))
    assert {name.replace("_", "-"): method for name, method in found.items()} == METHODS
    assert next(iter(METHODS)) == "vdu-f"
    tried = [not method.experimental for method in METHODS.values()]
    assert tried == sorted(tried, reverse=True)  # methods that were tried widely come first
    families = [family for _, family in collect(models, "FAMILY")]
    assert {family: set(family.PIPELINES) for family in families} == {
        family: {name for name, other in FAMILIES.items() if other is family} for family in families
    }

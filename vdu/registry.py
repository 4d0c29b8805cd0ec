"""Plug-ins by file: a method, metric, model family, attack or panel is found because its module lies in the right package."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def collect(package: ModuleType | str, attribute: str) -> Iterator[tuple[str, Any]]:
    """The values that the modules of a package declare under a name.

    Args:
        package: the package, or its dotted name.
        attribute: the module-level name to look for, such as "METHOD".

    Yields:
        (module's own name, value), in alphabetical order of the modules; modules without the attribute are skipped.
    """
    if isinstance(package, str):
        package = importlib.import_module(package)
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        if hasattr(module, attribute):
            yield found.name, getattr(module, attribute)

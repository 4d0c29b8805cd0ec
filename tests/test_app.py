"""The flags of `python app.py`, and what docs/deploy.md says of them."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from vdu.page.settings import SHARED, Settings

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {f"--{name.replace('_', '-')}": name for name in Settings.__dataclass_fields__}


@pytest.fixture(scope="module")
def app():
    """The module app.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("app", ROOT / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(app, monkeypatch):
    """Gives the settings of a command line."""

    def settings(*flags):
        monkeypatch.setattr(sys, "argv", ["app.py", *flags])
        return app.settings_of(app.read_flags())

    return settings


def test_without_flags_the_settings_are_the_defaults(app, settings):
    assert settings() == Settings() == app.DEFAULT == app.demo.page.settings


def test_a_shared_server_has_bounds_which_other_flags_replace(app, settings, monkeypatch):
    assert settings("--shared") == Settings(**SHARED)
    assert settings("--run-minutes", "3", "--shared", "--memory-gb", "0.5") == Settings(
        **SHARED | {"run_minutes": 3, "memory_gb": 0.5}
    )
    assert settings("--shared", "--runs-per-hour", "0").runs_per_hour == 0
    monkeypatch.setattr(app, "on_space", lambda: True)
    assert settings() == Settings(**SHARED)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--queue-length", "0"), "app.py: --queue-length must be at least 1, not 0."),
        (("--run-minutes", "-1"), "app.py: --run-minutes must be at least 0, not -1.0."),
        (("--memory-gb", "nan"), "app.py: --memory-gb must be at least 0, not nan."),
    ],
)
def test_a_bound_that_bounds_nothing_is_refused(settings, flags, words):
    with pytest.raises(SystemExit, match=re.escape(words)):
        settings(*flags)


def test_the_limits_in_the_docs_are_those_of_the_program():
    rows = re.findall(
        r"^\| .*? \| `(--[a-z-]+)` \| (\S+) \| (\S+) \|", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE
    )
    assert {flag for flag, *_ in rows} == {*FLAGS} - {"--any-model", "--upload-limit"}
    for flag, *told in rows:
        for words, settings in zip(told, (Settings(), Settings(**SHARED)), strict=True):
            assert float(words.replace("none", "0")) == getattr(settings, FLAGS[flag]), flag

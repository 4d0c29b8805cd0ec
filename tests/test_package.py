"""`pip install .` installs everything that the code needs at run time, in tested releases."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with everything that would be installed."""
    folder = tmp_path_factory.mktemp("built")
    command = ["setup.py", "-q", "egg_info", "--egg-base", folder, "build", "--build-base", folder / "build"]
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "build" / "lib"


def files_in(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_a_package_has_every_file_of_the_checkout(built):
    code = {Path("vdu", name) for name in files_in(ROOT / "vdu")}
    shipped = {Path("vdu", "_assets", name) for name in files_in(ROOT / "assets")}
    assert files_in(built) == code | shipped


def test_an_installed_copy_finds_its_own_files(built, tmp_path):
    look = [sys.executable, "-c", "import vdu.assets; print(vdu.assets.ASSETS)"]
    environment = os.environ | {"PYTHONPATH": str(built)}
    done = subprocess.run(look, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert Path(done.stdout.strip()) == built / "vdu" / "_assets", done.stderr


def test_the_tested_releases_are_among_those_the_package_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {(one := Requirement(text)).name: one.specifier for part in (project["dependencies"], *extras) for text in part}
    pinned = [Requirement(line) for name in ("requirements.txt", "tests/requirements.txt")
              for line in (ROOT / name).read_text().split()]  # fmt: skip
    releases = {one.name: next(iter(one.specifier)).version for one in pinned}
    assert wanted.keys() <= releases.keys()
    assert [name for name, specifier in wanted.items() if not specifier.contains(releases[name])] == []

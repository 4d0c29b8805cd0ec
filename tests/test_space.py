"""The repository as a Space of the Hugging Face hub: the front matter of README.md is valid and agrees with the rest."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
# https://huggingface.co/docs/hub/spaces-config-reference; the scopes: https://huggingface.co/docs/hub/spaces-oauth
KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware",
    "suggested_storage", "app_file", "app_port", "base_path", "fullWidth", "header", "short_description", "models", "datasets",
    "tags", "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes",
    "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers", "preload_from_hub",
    "license",
}  # fmt: skip
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SCOPES = {
    "email", "read-billing", "read-repos", "gated-repos", "contribute-repos", "write-repos", "manage-repos", "read-mcp",
    "write-discussions", "read-collections", "write-collections", "inference-api", "jobs", "webhooks",
}  # fmt: skip
LONGEST = 60  # letters of the short description


@pytest.fixture(scope="module")
def front_matter():
    _, block, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(block)


def test_the_hub_knows_every_key_and_value(front_matter):
    assert {*front_matter} <= KEYS
    assert {"title", "emoji", "sdk", "sdk_version", "app_file", "license"} <= {*front_matter}
    assert front_matter["sdk"] == "gradio"
    assert {front_matter["colorFrom"], front_matter["colorTo"]} <= COLOURS
    assert not front_matter["emoji"].isascii()
    assert 0 < len(front_matter["short_description"]) <= LONGEST
    assert all(isinstance(tag, str) for tag in front_matter["tags"])
    assert front_matter["hf_oauth"] is True
    assert {*front_matter["hf_oauth_scopes"]} <= SCOPES


def test_versions_are_those_of_the_requirements(front_matter):
    pinned = {(one := Requirement(line)).name: one for line in (ROOT / "requirements.txt").read_text().split()}
    assert pinned["gradio"].specifier == f"=={front_matter['sdk_version']}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = front_matter["python_version"]
    assert isinstance(python, str)  # YAML would read 3.10 as the number 3.1
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python)


def test_the_app_is_there_and_has_the_name_that_a_space_looks_for(front_matter):
    source = (ROOT / front_matter["app_file"]).read_text()
    assert "\ndemo = " in source
    assert (ROOT / "LICENSE").read_text().startswith(f"{front_matter['license'].upper()} License")


def test_publishing_asks_for_the_scope_that_it_needs(front_matter):
    assert "contribute-repos" in front_matter["hf_oauth_scopes"]

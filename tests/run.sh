#!/usr/bin/env bash
# Makes an environment, installs everything including a browser, lints, and runs every test but the slow ones.
# Arguments go to pytest: "-k word" for some tests, "-m slow" for those that take minutes, "-n 0" for a single process.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq && $as_root apt-get install -y -qq chromium >/dev/null
  else
    .venv/bin/python -m playwright install chromium
  fi
fi
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
exec .venv/bin/python -m pytest "$@"

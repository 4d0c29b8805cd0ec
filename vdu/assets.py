"""Where the files that ship are: weights, judges, pictures, the page's style."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"

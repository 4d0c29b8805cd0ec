"""The folder of the shipped files: weights, judges, pictures, the page's style sheet."""

from pathlib import Path

INSTALLED, CHECKOUT = Path(__file__).resolve().parent / "_assets", Path(__file__).resolve().parents[1] / "assets"
ASSETS = INSTALLED if INSTALLED.is_dir() else CHECKOUT  # an editable install uses the checkout's

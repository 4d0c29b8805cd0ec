"""The experiments behind the documentation's figures: `python -m vdu bench`."""

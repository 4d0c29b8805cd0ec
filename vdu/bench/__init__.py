"""Experiments that measure what the documentation claims: `python -m vdu bench`."""

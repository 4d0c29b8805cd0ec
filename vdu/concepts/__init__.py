"""Concepts to forget: a class, an attribute, a prompt, or the subject of a user's pictures."""

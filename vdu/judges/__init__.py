"""Judges, which decide what an image shows: shipped classifiers, CLIP, NudeNet, or one fitted on a user's pictures."""

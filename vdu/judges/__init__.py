"""Who sees what an image shows: shipped classifiers, CLIP, NudeNet, or a judge fitted on a user's pictures."""

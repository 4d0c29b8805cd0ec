"""Pictures: shipped ones, a user's own, and those of data sets on the hub."""

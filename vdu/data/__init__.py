"""Pictures: those that ship, those of a user, and those of a data set on the hub."""

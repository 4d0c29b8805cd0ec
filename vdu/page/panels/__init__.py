"""The panels of the right column, one file per panel; every file here is found by itself. See `vdu.page.panel.Panel`."""

"""The panels of the right column: one file each, found by itself; see `vdu.page.panel.Panel`."""

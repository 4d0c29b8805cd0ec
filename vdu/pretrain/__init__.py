"""How everything in assets/ was made: `python -m vdu pretrain mnist`."""

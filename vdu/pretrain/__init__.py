"""Training of the shipped models, their judges and their posteriors: `python -m vdu pretrain mnist`."""

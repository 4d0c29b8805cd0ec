"""VDU Studio: make a pretrained diffusion model forget, and measure it (Variational Diffusion Unlearning, 2510.04058)."""

__version__ = "0.1.0"

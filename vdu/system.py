"""What a report says about the machine: memory, device and versions."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch

from vdu import __version__

PACKAGES = ("torch", "diffusers", "transformers", "gradio")


def peak_memory_mib(device: str, reserved: bool = False) -> float:
    """Peak memory in MiB: of this process on a CPU; of the tensors on a GPU since its statistics were last reset.

    Args:
        device: "cpu", "cuda" …
        reserved: on a GPU, count all memory that the allocator has reserved, which is what a card must have.
    """
    if device.startswith("cuda"):
        return (torch.cuda.max_memory_reserved() if reserved else torch.cuda.max_memory_allocated()) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # POSIX only; psutil has no peak there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


def describe_device(device: str) -> str:
    """The device, the number of threads and the processor's architecture, in words."""
    return f"{device} ({torch.get_num_threads()} threads, {platform.machine()})"


def package_versions() -> dict[str, str]:
    """Package -> version, for Python, this package and the installed ones among `PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the engine also runs without gradio
            continue
    return found | {"vdu": __version__, "python": platform.python_version()}

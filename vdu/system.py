"""What a report says of the machine: memory, device and versions."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch

PACKAGES = ("torch", "diffusers", "gradio")


def peak_memory_mib(device: str, reserved: bool = False) -> float:
    """Peak memory in MiB: of this process on the CPU; on a GPU of its tensors since the last reset of its statistics.

    Args:
        device: "cpu", "cuda" …
        reserved: on a GPU, count what the allocator holds for tensors rather than the tensors: what a card must have.
    """
    if device.startswith("cuda"):
        return (torch.cuda.max_memory_reserved() if reserved else torch.cuda.max_memory_allocated()) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # POSIX only, where psutil knows no peak

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


def describe_device(device: str) -> str:
    """The device, its threads and the processor's architecture, in words."""
    return f"{device} ({torch.get_num_threads()} threads, {platform.machine()})"


def package_versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the engine runs without the page, for one
            continue
    return found | {"python": platform.python_version()}

"""Devices, and the number formats that they compute in."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from vdu.errors import UserError

# Limits of ONEDNN_MAX_CPU_ISA under which oneDNN only emulates bfloat16, many times slower than float32.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def pick_device(name: str) -> str:
    """Turn "auto" into "cuda" if there is a GPU, else into "cpu".

    Raises:
        UserError: if "cuda" is asked for and there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device on this machine; use --device cpu or auto.")
    return name


def has_bfloat16(device: str) -> bool:
    """Whether the hardware computes bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    barred = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16
    return torch.cpu._is_avx512_bf16_supported() and not barred


def autocast(device: str, float16: bool = True) -> AbstractContextManager:
    """bfloat16 if the hardware computes it natively; else float32, or float16 on a GPU while no gradient is needed.

    Args:
        device: "cpu" or "cuda".
        float16: False for a part whose activations exceed float16's range.
    """
    native = has_bfloat16(device)
    half = torch.bfloat16 if native or device == "cpu" else torch.float16
    return torch.autocast(device, half, enabled=native or (device == "cuda" and float16 and not torch.is_grad_enabled()))


@contextmanager
def on_device(module: torch.nn.Module, device: str) -> Iterator[torch.nn.Module]:
    """Move a rarely used module to a device for the duration of a `with` block, then back to main memory."""
    module.to(device)
    try:
        yield module
    finally:
        module.to("cpu")

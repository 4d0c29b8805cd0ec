"""What a report says about the machine."""

import psutil
import torch

from vdu import system
from vdu.system import package_versions, peak_memory_mib


def test_peak_memory_counts_what_was_freed_again():
    before = peak_memory_mib("cpu")
    below_peak = before - psutil.Process().memory_info().rss / 2**20  # what other tests have used and freed
    block = torch.ones((300 + int(below_peak)) * 2**18)  # MiB of float32
    del block
    assert before + 200 < peak_memory_mib("cpu") < before + 1000


def test_versions_of_what_is_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(system, "PACKAGES", ("torch", "no-such-package"))
    assert list(package_versions()) == ["torch", "vdu", "python"]

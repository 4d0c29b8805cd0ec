"""What is said of the machine."""

import subprocess
import sys

import torch

from vdu import system
from vdu.system import package_versions, peak_memory_mib


def test_peak_memory_counts_what_was_freed_again():
    before = peak_memory_mib("cpu")
    block = torch.ones(300 * 2**18)  # 300 MiB
    del block
    assert before + 200 < peak_memory_mib("cpu") < 64 * 1024


def test_versions_of_what_is_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(system, "PACKAGES", ("torch", "no-such-package"))
    assert list(package_versions()) == ["torch", "python"]


def test_reports_need_neither_gradio_nor_what_only_posix_has():
    code = "import sys, vdu.unlearn; sys.modules |= dict.fromkeys(('gradio', 'resource')); import vdu.export, vdu.report"
    subprocess.run([sys.executable, "-c", code], check=True)

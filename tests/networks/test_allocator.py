from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from uqlib.networks import allocator
{call}
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again() -> None:
    """Each of ten arrays of 64 MB, more than glibc keeps by itself, is 16,384 pages; huge pages would be fewer."""

    def page_faults(call: str) -> int:
        command = [sys.executable, "-c", SCRIPT.format(call=call)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    kept, paged_in_again = page_faults("assert allocator.keep_memory()"), page_faults("")
    assert kept < 0.1 * paged_in_again


def test_nothing_is_changed_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    from uqlib.networks import allocator

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("it asked the C library"))
    assert allocator.keep_memory() is False

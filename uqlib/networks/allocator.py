"""How the C library treats memory that torch gives back: a setting for long runs on a CPU, never made by itself."""

from __future__ import annotations

import ctypes
import platform

# Names and numbers of malloc.h in glibc; see mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT = 1 << 30  # bytes; the largest single array that is kept for reuse


def keep_memory() -> bool:
    """Let this process keep freed memory for reuse instead of handing every large array back to the system.

    A training step makes and drops arrays of tens of MB; glibc asks the system for each of them anew, and the first
    touch of every page costs more than the arithmetic on it. The price: memory once used stays with the process until
    it ends. It is a setting of the whole process and cannot be taken back.

    Returns whether it was set: False without glibc (macOS, Windows, musl), where nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))

"""Python, processor, memory and disk: nothing here needs more than Python itself."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from uqlib.installation.findings import Finding, error_line

OLDEST, NEWEST = (3, 11), (3, 13)  # the pinned packages have builds for these
LEAST_MEMORY = 1.5e9  # bytes: what the hungriest chapter may take
LEAST_DISK = 1e9  # bytes: checkpoints, executed notebooks and the built pages
CGROUP = Path("/sys/fs/cgroup")
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
ADDRESSES = 4.0  # torch reserves several times the addresses that it uses
THREADS = "OMP_NUM_THREADS"


def python() -> Finding:
    """The interpreter."""
    version, bits = sys.version_info[:2], 8 * ctypes.sizeof(ctypes.c_void_p)
    found = f"{platform.python_implementation()} {platform.python_version()}, {bits} bit, {sys.executable}"
    if not OLDEST <= version <= NEWEST or bits != 64 or platform.python_implementation() != "CPython":
        wanted = f"needed: CPython {_dotted(OLDEST)} to {_dotted(NEWEST)}, 64 bit"
        remedy = f"install Python {_dotted(OLDEST)} (python.org, conda-forge) and make the environment anew"
        return Finding(subject="Python", state="wrong", found=f"{found}; {wanted}", remedy=remedy)
    return Finding(subject="Python", state="ok", found=found)


def threads() -> Finding:
    """Processor cores that this process may use, and the number of threads that the environment asks for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get(THREADS)
    if asked is not None and not (asked.strip().isdigit() and 1 <= int(asked) <= cores):
        found = f"{THREADS} is {asked!r}, on {cores} cores"
        return Finding(subject="threads", state="wrong", found=found, remedy=f"unset {THREADS}, or set it to 1")
    return Finding(subject="threads", state="ok", found=f"{cores} cores, {THREADS} {asked or 'not set'}")


def memory() -> Finding:
    """Memory that this process can still get, by the machine and by any limit that it runs under."""
    room = {name: size for name, size in _room().items() if size is not None}
    if not room:
        words = f"this system does not say how much is free; a chapter may take {_gigabytes(LEAST_MEMORY)}"
        return Finding(subject="memory", state="ok", found=words)
    tightest = min(room, key=lambda name: room[name])
    found = f"{_gigabytes(room[tightest])} free ({tightest}); a chapter may take {_gigabytes(LEAST_MEMORY)}"
    if room[tightest] < LEAST_MEMORY:
        remedy = "close other programs and other notebooks (Kernel > Shut Down), or raise the limit (ulimit -v, Docker)"
        return Finding(subject="memory", state="wrong", found=found, remedy=remedy)
    return Finding(subject="memory", state="ok", found=found)


def disk() -> Finding:
    """Room on the disk, here and where temporary files go, and whether one may write there."""
    for place in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(dir=place) as file:
                file.write(b"x")
            free = shutil.disk_usage(place).free
        except OSError as error:
            remedy = "work in a folder of your own, or set TMPDIR to one"
            return Finding(subject="disk", state="wrong", found=f"cannot write: {error_line(error)}", remedy=remedy)
        if free < LEAST_DISK:
            found = f"{_gigabytes(free)} free in {place}, needed: {_gigabytes(LEAST_DISK)}"
            return Finding(subject="disk", state="wrong", found=found, remedy="make room, or work on another disk")
    return Finding(subject="disk", state="ok", found=f"{_gigabytes(shutil.disk_usage('.').free)} free")


def _room() -> dict[str, float | None]:
    """Free memory in bytes by who says so; None where nobody does."""
    return {"memory of the machine": _machine(), "limit of the container": _container(), "limit of the shell": _shell()}


def _machine() -> float | None:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError, subprocess.CalledProcessError):
        if sys.platform == "darwin":  # says what it has; what is free, macOS decides as one goes
            return float(subprocess.check_output(["/usr/sbin/sysctl", "-n", "hw.memsize"], text=True))
    windll: Any = getattr(ctypes, "windll", None)
    if windll is not None:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        if windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return float(status.free)
    return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of Windows."""

    _fields_ = (
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("rest", ctypes.c_ulonglong * 5),
    )


def _container() -> float | None:
    """What a container may still take: control groups, version 2, then version 1."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            room = float((CGROUP / limit).read_text()) - float((CGROUP / used).read_text())
            return room if room < 1e15 else None  # a number beyond all machines stands for no limit
    return None


def _shell() -> float | None:
    """What `ulimit -v` leaves, as memory in use: addresses are taken several times over."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit / ADDRESSES


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))

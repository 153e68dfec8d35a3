"""Where tensors live and in which floating-point type: how users name both, and what becomes of the names."""

from __future__ import annotations

import os
from pathlib import Path

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64}

UNKNOWN_MEMORY = 2_000_000_000  # bytes, assumed where the system does not say

Target = torch.dtype | torch.device | str
"""What the `to` of a predictor takes, one or two of them: `to("cuda", torch.float64)`."""


def as_dtype(value: torch.dtype | str) -> torch.dtype:
    """`torch.float32` or `torch.float64`, also by name, as other packages have it. Raises ValueError for others."""
    found = DTYPES.get(value.removeprefix("torch."), value) if isinstance(value, str) else value
    if found not in DTYPES.values():
        raise ValueError(f"dtype: got {value!r}, expected torch.float32 or torch.float64, or one of {sorted(DTYPES)}")
    assert isinstance(found, torch.dtype)
    return found


def as_device(value: torch.device | str) -> torch.device:
    """A device, from its name or from "auto": the GPU that torch sees, or else the CPU.

    Raises ValueError for other names, and for a GPU that is not there.
    """
    if value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device: got {value!r}, expected "auto", "cpu", "cuda" or "cuda:1"') from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device: got {str(found)!r}, but torch sees no GPU on this machine; take "cpu" or "auto", or install a '
            "torch that was built for your GPU"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: got {str(found)!r}, but there are only {torch.cuda.device_count()} GPUs")
    return found


def targets(
    given: tuple[Target, ...], *, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
) -> tuple[torch.device | None, torch.dtype | None]:
    """What a call of `to` asks for: the device and the type, None for what stays. `given`: without names, any order.

    Raises ValueError for something that is neither, and for two devices or two types.
    """
    for value in given:
        if isinstance(value, torch.dtype) or (isinstance(value, str) and value.removeprefix("torch.") in DTYPES):
            if dtype is not None:
                raise ValueError(f"dtype: got {dtype} and {value}, expected one")
            dtype = value
        else:
            if device is not None:
                raise ValueError(f"device: got {device} and {value}, expected one")
            device = value
    return None if device is None else as_device(device), None if dtype is None else as_dtype(dtype)


def same_place(one: torch.device, other: torch.device) -> bool:
    """Whether both name one device: "cuda" is the first of the GPUs unless a number says which."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that could be had now: of a GPU what nobody holds, of the machine what it or its container can give."""
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    found = [value for value in (_of_the_machine(), _of_the_container()) if value is not None]
    return min(found, default=UNKNOWN_MEMORY)


def _of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: half of all there is
        names = getattr(os, "sysconf_names", {})
        known = "SC_PAGE_SIZE" in names and "SC_PHYS_PAGES" in names
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if known else None


def _of_the_container() -> int | None:
    """What its control group (version 2) still allows; None without one or without a limit."""
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")
        return int(most) - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max" is no number
        return None

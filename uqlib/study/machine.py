"""What the numbers of a cell were made on: processor, versions, memory, threads."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """So many threads of torch, while it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def hardware(threads: int, device: torch.device | None = None) -> dict[str, Any]:
    """What the numbers of a cell were made on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux
    on_gpu = device is not None and device.type == "cuda"
    accelerator = torch.cuda.get_device_name(device) if on_gpu else None
    return {"processor": name, "threads": threads, "accelerator": accelerator}


def peak_mb() -> float:
    """The most memory that this process has held so far, MB."""
    import resource  # Windows has none; reading results, which is all that chapters do, works there without

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / 1e6 if sys.platform == "darwin" else found * 1024 / 1e6


def versions() -> dict[str, str]:
    """Of what computes."""
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in ("uqlib", "torch", "numpy")}}

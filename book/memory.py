"""The largest memory that a run took, its children included."""

import threading
from pathlib import Path

import psutil


class PeakMemory:
    """Largest resident memory of the processes started while it is open, read ten times a second."""

    def __enter__(self) -> "PeakMemory":
        self.peak_bytes = 0
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            processes = [p for p in psutil.Process().children(recursive=True) if p.pid not in self._before]
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, processes)), *map(_high_water, processes), 0)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended in between
        return 0


def _high_water(process: psutil.Process) -> int:
    """Peak of one process as Linux keeps it: catches what comes and goes between two readings."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)

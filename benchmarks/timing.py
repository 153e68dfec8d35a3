"""Interleaved timing: every candidate once per round, so that a busy machine is busy for all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of each candidate, one column a candidate, one row a round."""

    names: tuple[str, ...]
    seconds: np.ndarray  # (rounds, candidates)

    def median(self, name: str) -> float:
        """Seconds."""
        return float(np.median(self.seconds[:, self.names.index(name)]))

    def ratio(self, slow: str, fast: str) -> tuple[float, float, float]:
        """How many times longer `slow` takes than `fast`: median over rounds of the ratio, and its quartiles."""
        ratios = self.seconds[:, self.names.index(slow)] / self.seconds[:, self.names.index(fast)]
        return float(np.median(ratios)), float(np.quantile(ratios, 0.25)), float(np.quantile(ratios, 0.75))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Run all candidates in turn for about `seconds` in all, at least `least` rounds, after two rounds unmeasured.

    `clock=time.process_time` counts the processor's time instead of the wall's: with one thread it says something
    even while the machine has other work.
    """
    for _ in range(2):
        for run in candidates.values():
            run()
    rows: list[list[float]] = []
    start = time.perf_counter()
    while len(rows) < least or time.perf_counter() - start < seconds:
        row = []
        for run in candidates.values():
            before = clock()
            run()
            row.append(clock() - before)
        rows.append(row)
    return Times(names=tuple(candidates), seconds=np.array(rows))


def busy() -> str | None:
    """A warning when the machine has other work: times then say little, ratios less than they seem to."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < 0.3 * cores:
        return None
    return f"load is {load:.1f} on {cores} cores before the start: wait for a quiet machine before quoting numbers"

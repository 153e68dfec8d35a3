"""Many small units on processes of a cluster that die one after another: each is done once, and none is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from uqlib.study.cells import do_all

distributed = pytest.importorskip("distributed")


def unit(number: int, seconds: float) -> int:
    """As trivial as a unit can be; at module level, for the processes that do it."""
    time.sleep(seconds)
    return number


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("units", "workers", "every"),
    [
        (60, 2, 2.0),
        pytest.param(10_000, 8, 10.0, marks=pytest.mark.skipif("UQLIB_SLOW" not in os.environ, reason="UQLIB_SLOW=1")),
    ],
)
def test_workers_that_die_lose_nothing(tmp_path: Path, units: int, workers: int, every: float) -> None:
    done = threading.Event()
    kept: list[int] = []
    memory: list[float] = []
    killed = 0

    def killing() -> None:
        nonlocal killed
        while not done.wait(every):
            pids = [each.process.pid for each in cluster.workers.values() if each.process is not None]
            if pids and killed < units // 20:
                os.kill(pids[killed % len(pids)], signal.SIGKILL)
                killed += 1

    def keep(number: int, result: int) -> int:
        assert number == result
        kept.append(number)
        memory.append(psutil.Process().memory_info().rss / 1e6)
        return 1

    options: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    jobs = [(number, partial(unit, number, 0.05)) for number in range(units)]
    with (
        distributed.LocalCluster(n_workers=workers, local_directory=str(tmp_path), **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        thread = threading.Thread(target=killing, daemon=True)
        thread.start()
        made = do_all(
            jobs, keep, executor=client.get_executor(), kept=0, total=units, called=("scale", "units"), progress=False
        )
        done.set()
        thread.join()
    assert made == units
    assert sorted(kept) == list(range(units))
    assert killed
    assert memory[-1] < memory[len(memory) // 4] + 100, "MB; it does not grow with the number of units"

"""Processes that work for this one: they end with it, however it ends, and soon."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tqdm.auto import tqdm

SECONDS_TO_END = 3.0  # that a worker has after it was asked to


class WorkerPool(ProcessPoolExecutor):
    """Fresh processes that end with this one; made by `worker_pool`. Left by an exception, it stops at once."""

    def __exit__(self, kind: Any, *rest: Any) -> bool:
        if kind is None:
            self.shutdown()
        else:
            self.stop()
        return False

    def stop(self) -> None:
        """Take up nothing more, and end the workers in mid-work, with the programs that they started."""
        workers = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(SECONDS_TO_END)
            if worker.is_alive():
                worker.kill()
                worker.join()
        self.shutdown()  # the queues, which the system would miss


def worker_pool(workers: int) -> WorkerPool:
    """`workers` fresh processes that end with this one, also when it is killed.

    Those of a plain `ProcessPoolExecutor` go on with what they have, and then wait for ever for more. They are started
    anew, not forked: torch does not survive that. An interrupt from the keyboard is this process's to answer.
    """
    return WorkerPool(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes that `multiprocessing` started"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tqdm.set_lock(threading.RLock())  # its own is one of the system, which a process that is ended leaves behind

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

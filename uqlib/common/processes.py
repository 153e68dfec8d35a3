"""Processes that work for this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """`workers` fresh processes that end with this one, also when it is killed.

    Those of a plain `ProcessPoolExecutor` go on with what they have, and then wait for ever for more. They are started
    anew, not forked: torch does not survive that.
    """
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes that `multiprocessing` started"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

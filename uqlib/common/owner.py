"""One owner at a time: a folder or file that two processes want is waited for, or its owner is named.

Locks are those of the operating system (`filelock`): they end with the process that holds them, also when it is killed.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".owner.lock"


class InUse(ValueError):
    """A folder belongs to another process that is at work in it."""


@contextmanager
def owner_of(folder: str | Path, what: str) -> Iterator[None]:
    """Be the one process that works in `folder`, which is made if it is not there.

    `what` names the folder's argument in the error. Not to be asked for twice by one process.

    Raises:
        InUse: another process is; the message says which, since when, and what to do.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / ".owner.json"
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
        if not (folder / LOCK).exists():  # its owner ended just now, and took the file along
            lock.release()
            lock.acquire()
    except Timeout:
        raise InUse(
            f"{what}: {folder} is in use by {_read(card)}; wait until it is done or stop it, or name another folder"
        ) from None
    try:
        mine = {"process": os.getpid(), "machine": platform.node(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        card.write_text(json.dumps(mine), encoding="utf-8")
        yield
    finally:
        card.unlink(missing_ok=True)
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


@contextmanager
def waiting_for(path: str | Path) -> Iterator[None]:
    """Be the one process that makes the file `path`: wait while another does, and then look whether it is there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_of(path)):
        try:
            yield
        finally:  # whoever waits looks for the file first; where it is not there, at worst two make the same
            _lock_of(path).unlink(missing_ok=True)


@contextmanager
def first_of(paths: list[Path]) -> Iterator[list[Path]]:
    """Those of the files that nobody else is making now, held until the end: they are this process's to make."""
    held: dict[Path, FileLock] = {}
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(_lock_of(path), timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            held[path] = lock
        yield list(held)
    finally:
        for path, lock in held.items():
            if path.exists():  # whoever waits for the lock looks for the file first, and needs no lock any more
                _lock_of(path).unlink(missing_ok=True)
            lock.release()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _read(card: Path) -> str:
    try:
        known = json.loads(card.read_text(encoding="utf-8"))
        return f"process {known['process']} on {known['machine']} since {known['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

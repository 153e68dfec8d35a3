"""A program run under guard: when whoever asked for it is gone, it is ended, and what it left is removed.

    python -I guard.py PARENT FOLDER PROGRAM ARGUMENTS...

PARENT is the process that asked, FOLDER is removed when it is gone ("" for none). Needs the standard library alone,
and imports nothing of this one: it is started for each label. On Linux programs started by the program end too,
and the program ends with the guard; elsewhere its process group does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

EVERY = 0.1  # seconds from one look to the next
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl
LINUX = sys.platform.startswith("linux")


class Ended(Exception):
    """Somebody asked the guard to end."""


def main(parent: int, folder: str, command: list[str]) -> int:
    """Run `command`; its exit status, 128 + the signal if one ended it."""
    prctl = ctypes.CDLL(None).prctl if LINUX else None

    def with_guard() -> None:  # between fork and exec of the program, in a process of one thread
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def ended(*_: object) -> None:
        raise Ended

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), ended)
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the program leaves behind becomes ours
    try:
        program = subprocess.Popen(command, process_group=0, preexec_fn=with_guard)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    try:
        while os.getppid() == parent:
            try:
                status = program.wait(EVERY)
                return status if status >= 0 else 128 - status
            except subprocess.TimeoutExpired:
                pass
    except Ended:
        pass
    _end_all(program)
    if folder and os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
    return 128 + signal.SIGTERM


def _end_all(program: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # each one that ends may leave others
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(EVERY / 10)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        return [int(found) for found in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # not Linux
        return []


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))

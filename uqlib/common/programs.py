"""Programs of others, run so that they end with this process, whatever ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
SECONDS_TO_END = 10.0


def guarded(command: Sequence[str], folder: str | Path = "") -> list[str]:
    """A command that runs `command`, and ends it when this process is gone; `folder` is then removed. See `guard`."""
    if os.name == "nt":  # without process groups and signals
        return list(command)
    return [sys.executable, "-I", str(GUARD), str(os.getpid()), str(folder), *command]


def run_program(
    command: Sequence[str], *, folder: str | Path, environment: Mapping[str, str], timeout: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, to which nobody else writes: it is removed if this process is killed meanwhile.

    An interrupt from the keyboard does not reach the program: it ends when this process stops to wait for it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds; it was ended, with all that it had started.
    """
    with subprocess.Popen(
        guarded(command, folder),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as program:
        try:
            output, errors = program.communicate(timeout=timeout)
        except BaseException:  # of time, of the keyboard, or of anything: none of it leaves a program behind
            program.terminate()
            try:
                program.communicate(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                program.kill()
            raise
        return subprocess.CompletedProcess(list(command), program.returncode, output, errors)

"""Programs that we start end with us, whatever ends us, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import signals
from ase import Atoms

from uqlib.common.programs import run_program
from uqlib.oracles import CP2KOracle, OracleError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")
CELL = Atoms("H2", positions=[(0.0, 0.0, 0.0), (0.8, 0.1, 0.0)], cell=[4.0, 4.5, 4.2], pbc=True)
SLOW = """#!{python}
import os, subprocess, sys, time
if "--version" in sys.argv:
    print("CP2K version 1.0"); sys.exit()
child = subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(600)"])
with open({pids!r}, "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}} {{os.getcwd()}}")
time.sleep(600)
"""
PARENT = """
import sys
from test_programs import CELL, CP2KOracle
print("ready", flush=True)
CP2KOracle(program={program!r}).label(CELL)
"""


def program(folder: Path) -> tuple[Path, Path]:
    """A stand-in for CP2K that starts a program of its own and takes its time; and where it says who they are."""
    path, pids = folder / "cp2k-stand-in", folder / "pids"
    path.write_text(SLOW.format(python=sys.executable, pids=str(pids)))
    path.chmod(0o755)
    return path, pids


def soon(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)
    return what()


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_cp2k_dies_with_whoever_asked(tmp_path: Path, how: signal.Signals) -> None:
    path, pids = program(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join([*sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(program=str(path))],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=signals.heeded,
    ) as parent:  # fmt: skip
        assert soon(lambda: pids.exists() and len(pids.read_text().split()) == 3)
        one, other, folder = pids.read_text().split()
        assert Path(folder).parent == temporary
        parent.send_signal(how)
    assert soon(lambda: gone(int(one)))
    if sys.platform.startswith("linux"):
        assert soon(lambda: gone(int(other))), "what the program started in a session of its own"
    assert soon(lambda: not Path(folder).exists())


def test_cp2k_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path, pids = program(tmp_path)
    started = time.monotonic()
    with pytest.raises(OracleError, match=r"CP2K took longer than timeout=3\.0 s"):
        CP2KOracle(program=str(path), timeout=3.0).label(CELL)
    assert time.monotonic() - started < 30
    one, other, folder = pids.read_text().split()
    assert gone(int(one))
    assert gone(int(other)) or not sys.platform.startswith("linux")
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("code", "status", "output"),
    [("print('done')", 0, "done\n"), ("raise SystemExit(3)", 3, ""), ("import os; os.kill(os.getpid(), 9)", 137, "")],
)
def test_a_program_says_how_it_ended(tmp_path: Path, code: str, status: int, output: str) -> None:
    done = run_program([sys.executable, "-c", code], folder=tmp_path, environment=os.environ, timeout=60)
    assert (done.returncode, done.stdout) == (status, output)
    assert tmp_path.exists()


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    done = run_program([str(tmp_path / "none")], folder=tmp_path, environment=os.environ, timeout=60)
    assert done.returncode == 127
    assert "No such file" in done.stderr

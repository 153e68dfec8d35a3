"""Execute a chapter once, and remember it: the site and the tests share the run.

An executed copy lies at `_build/executed/book/<name>.ipynb`. It carries, under the metadata key "uqlib", what the run
cost and a digest of all that the run depends on; while the digest holds, the copy is the result. (jupyter-cache looks
at the notebook alone, and would miss a change in the library.)
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import notebooks
import psutil
from filelock import FileLock
from nbmake.nb_run import NotebookRun

BUILD = notebooks.ROOT / "_build"
EXECUTED = BUILD / "executed"
CELL_TIMEOUT = 1200  # seconds; only to end a run that hangs

DEPENDENCIES = ("uqlib/**/*", "requirements.lock", "book/execute.py")
"""What a run depends on besides the notebook: the library with its data, the pinned packages, this file."""

ENVIRONMENT = {
    "UQLIB_STATIC_HTML": "1",  # viewers that need no kernel
    "PYTHONHASHSEED": "0",
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one that the user registered
}

NO_PROGRESS_BARS = """\
from tqdm.auto import tqdm

def silenced(self, *arguments, _start=tqdm.__init__, **options):
    _start(self, *arguments, **{**options, "disable": True})

tqdm.__init__ = silenced
"""
"""Run before the first cell: a bar that stands still on a page tells nobody anything."""


class ChapterFailed(RuntimeError):
    """A cell of a chapter raised; the message names chapter and cell and holds the traceback."""


def executed_path(name: str) -> Path:
    """Where the executed copy of a chapter lies."""
    return EXECUTED / "book" / f"{name}.ipynb"


def digest(name: str) -> str:
    """SHA-256 over the chapter's source and everything in `DEPENDENCIES`."""
    files = {path for pattern in DEPENDENCIES for path in notebooks.ROOT.glob(pattern)}
    total = hashlib.sha256(notebooks.source(name).read_bytes())
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(f"\n{path.relative_to(notebooks.ROOT).as_posix()}\n".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def is_fresh(name: str) -> bool:
    """Whether the executed copy belongs to the present sources."""
    path = executed_path(name)
    if not path.exists():
        return False
    notebook = nbformat.read(path, as_version=4)
    return notebook.metadata.get("uqlib", {}).get("digest") == digest(name)


def execute(name: str) -> nbformat.NotebookNode:
    """Run a chapter from top to bottom in a fresh kernel, unless a run of the same sources is at hand.

    Args:
        name: the chapter's notebook, without folder and suffix.

    Returns:
        The executed notebook. Its `metadata["uqlib"]` has `seconds` (wall time, kernel start included), `peak_mb`
        (largest resident memory of the kernel and its children, MB of 10^6 bytes), `cores` and `digest`.

    Raises:
        FileNotFoundError: if there is no such chapter.
        ChapterFailed: if a cell raised or ran out of time. Nothing is remembered then.
    """
    if not notebooks.source(name).exists():
        raise FileNotFoundError(f"no chapter {name!r}: expected {notebooks.source(name)}")
    path = executed_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / "execute.lock"):  # one kernel at a time: torch uses all cores
        if not is_fresh(name):
            _replace(path, _run(name))
    return nbformat.read(path, as_version=4)


def _run(name: str) -> nbformat.NotebookNode:
    key = digest(name)
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        copy = Path(folder) / f"{name}.ipynb"  # what a cell writes beside its notebook is gone afterwards
        copy.write_bytes(notebooks.source(name).read_bytes())
        private = {"IPYTHONDIR": _profile(Path(folder)), "MPLCONFIGDIR": _fonts()}
        with _environment({**ENVIRONMENT, **private}), _PeakMemory() as memory:
            start = time.perf_counter()
            result = NotebookRun(copy, default_timeout=CELL_TIMEOUT, kernel="python3").execute()
            seconds = time.perf_counter() - start
    if result.error is not None:
        index = result.error.failing_cell_index
        raise ChapterFailed(f"chapter {name!r}, cell {index}: {result.error.summary}\n{result.error.trace}")
    notebook = result.nb
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps: they would make every copy another
    notebook.metadata["uqlib"] = {
        "seconds": round(seconds, 1),
        "peak_mb": round(memory.peak_bytes / 1e6),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "digest": key,
    }
    return notebook


def _profile(folder: Path) -> str:
    """A profile of IPython's own, so that nobody's start-up files take part in the run."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    # Errors only: on every start the kernel warns that it listens on a local port.
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    (profile / "startup").mkdir()
    (profile / "startup" / "quiet.py").write_text(NO_PROGRESS_BARS)
    return str(profile.parent)


def _fonts() -> str:
    """Matplotlib's folder of our own, with its list of fonts made: no user's settings, no word of making it."""
    folder = BUILD / "matplotlib"
    if not list(folder.glob("fontlist-*.json")):
        make = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(make, env={**os.environ, "MPLCONFIGDIR": str(folder)}, check=True, capture_output=True)
    return str(folder)


def _replace(path: Path, notebook: nbformat.NotebookNode) -> None:
    part = path.with_suffix(".part")
    part.write_text(nbformat.writes(notebook), encoding="utf-8")
    part.replace(path)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _PeakMemory:
    """Largest resident memory of the processes started while it is open, read ten times a second."""

    def __enter__(self) -> "_PeakMemory":
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

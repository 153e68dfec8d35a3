"""Execute a chapter once, and remember it: the site and the tests share the run.

An executed copy lies at `_build/executed/book/<name>.ipynb`. It carries, under the metadata key "uqlib", what the run
cost, every claim that it made, and a digest of all that the run depends on; while the digest holds, the copy is the
result. (jupyter-cache looks at the notebook alone, and would miss a change in the library.) A run that a cell stopped
is kept, too, up to that cell, but without a digest: the next build tries again.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asides
import nbformat
import notebooks
from filelock import FileLock
from memory import PeakMemory
from nbclient.exceptions import DeadKernelError
from nbmake.nb_run import NotebookRun

from uqlib.chapters import claims

BUILD = notebooks.ROOT / "_build"
EXECUTED = BUILD / "executed"
CELL_TIMEOUT = 1200  # seconds; only to end a run that hangs

DEPENDENCIES = ("uqlib/**/*", "requirements.lock", "book/execute.py")
"""What a run depends on besides the notebook: the library with its data, the pinned packages, this file."""

ONLY_WHERE_NAMED = {"uqlib/data/loops/": "loops"}
"""Data that grow cell by cell, and the package that reads them: a chapter without this word does not depend on them."""

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


HIDING = ("remove-", "hide-")
"""Beginnings of the tags that take a cell, or a part of it, out of sight."""


def executed_path(name: str) -> Path:
    """Where the executed copy of a chapter lies."""
    return EXECUTED / "book" / f"{name}.ipynb"


def digest(name: str) -> str:
    """SHA-256 over the chapter's source, less its questions and live figures, and everything in `DEPENDENCIES`."""
    files = {path for pattern in DEPENDENCIES for path in notebooks.ROOT.glob(pattern)}
    source = asides.without(notebooks.source(name).read_text(encoding="utf-8")).encode()
    unread = tuple(folder for folder, package in ONLY_WHERE_NAMED.items() if package.encode() not in source)
    total = hashlib.sha256(source)
    for path in sorted(files):
        place = path.relative_to(notebooks.ROOT).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not place.startswith(unread):
            total.update(f"\n{place}\n".encode())
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
        The executed notebook, with what `run` says of it. If a cell failed it is there all the same, and its
        `metadata["uqlib"]` has `failed`.

    Raises:
        FileNotFoundError: if there is no such chapter.
    """
    if not notebooks.source(name).exists():
        raise FileNotFoundError(f"no chapter {name!r}: expected {notebooks.source(name)}")
    path = executed_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / "execute.lock"):  # one kernel at a time: torch uses all cores
        if not is_fresh(name):
            _replace(path, run(name))
    return nbformat.read(path, as_version=4)


def run(name: str, environment: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """Run a chapter in a fresh kernel, and remember nothing.

    Args:
        name: the chapter's notebook, without folder and suffix.
        environment: variables for the kernel and all that it starts, besides those of `ENVIRONMENT`.

    Returns:
        The executed notebook. Its `metadata["uqlib"]` has `seconds` (wall time, kernel start included), `peak_mb`
        (largest resident memory of the kernel and its children, MB of 10^6 bytes), `cores` and `claims` (each as
        `uqlib.chapters.Claim` has it). If all cells ran it has `digest`. If one raised, ran out of time or killed the
        kernel it has `failed` instead: `cell` (its place among `cells` cells, from 1) and `error` (one line); that
        cell shows the error, and those below it were not run.
    """
    key = digest(name)
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        copy = Path(folder) / f"{name}.ipynb"  # what a cell writes beside its notebook is gone afterwards
        copy.write_bytes(notebooks.source(name).read_bytes())
        record = Path(folder) / "ipython" / "claims.jsonl"
        own = {"IPYTHONDIR": _profile(Path(folder)), "MPLCONFIGDIR": fonts(), claims.RECORD_FILE: str(record)}
        with _environment({**ENVIRONMENT, **own, **(environment or {})}), PeakMemory() as memory:
            start = time.perf_counter()
            notebook, failed = _run_cells(copy)
            seconds = time.perf_counter() - start
        made = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps: they would make every copy another
    notebook.metadata["uqlib"] = {
        "seconds": round(seconds, 1),
        "peak_mb": round(memory.peak_bytes / 1e6),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "claims": [json.loads(line) for line in made],
        **({"failed": failed} if failed else {"digest": key}),
    }
    return notebook


def _run_cells(path: Path) -> tuple[nbformat.NotebookNode, dict[str, Any] | None]:
    """The notebook with its outputs, and what stopped it."""
    try:
        result = NotebookRun(path, default_timeout=CELL_TIMEOUT, kernel="python3").execute()
    except DeadKernelError as error:
        # nbmake passes this one on and lets go of the notebook, which one of its frames still holds.
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
        notebook = next(each["nb"] for each in frames if isinstance(each.get("nb"), nbformat.NotebookNode))
        started = [at for at, cell in enumerate(notebook.cells) if "execution" in cell.metadata]
        return notebook, _mark(notebook, started[-1], "DeadKernelError", "the kernel died, perhaps for want of memory")
    if result.error is None:
        return result.nb, None
    index = result.error.failing_cell_index
    raised = [output for output in result.nb.cells[index].outputs if output.output_type == "error"]
    if raised and raised[0].ename != "KeyboardInterrupt":  # which is how a cell ends that ran out of time
        return result.nb, _mark(result.nb, index, raised[0].ename, raised[0].evalue)
    return result.nb, _mark(result.nb, index, "Stopped", result.error.summary)


def _mark(notebook: nbformat.NotebookNode, index: int, kind: str, message: str) -> dict[str, Any]:
    """Bring the cell that failed, and its error, into sight; says in one line what happened."""
    cell = notebook.cells[index]
    line = " ".join(f"{kind}: {message}".split())[:300]
    if not any(output.get("ename") == kind for output in cell.outputs):
        cell.outputs.append(nbformat.v4.new_output("error", ename=kind, evalue=message, traceback=[line]))
    cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith(HIDING)]
    return {"cell": index + 1, "cells": len(notebook.cells), "error": line}


def _profile(folder: Path) -> str:
    """A profile of IPython's own, so that nobody's start-up files take part in the run."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    # Errors only: on every start the kernel warns that it listens on a local port.
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    (profile / "startup").mkdir()
    (profile / "startup" / "quiet.py").write_text(NO_PROGRESS_BARS)
    return str(profile.parent)


def fonts() -> str:
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

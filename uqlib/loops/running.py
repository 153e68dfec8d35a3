"""All loops of the campaign, in this process or in the workers of any executor; what is done already stays done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from uqlib.common import storage
from uqlib.common.owner import owner_of
from uqlib.loops.grid import Grid, Unit
from uqlib.loops.packing import pack, unpack
from uqlib.loops.unit import do_unit, label_folder, unit_folder
from uqlib.study import cells
from uqlib.study.cells import REMEDY, SCRATCH, Cell, Done, as_text, digest, do_all, tell_stale
from uqlib.study.grid import data_digest


def run(
    grid: Grid,
    folder: str | Path,
    *,
    executor: Executor | None = None,
    only: Sequence[str] = (),
    command: str = "",
    threads: int = 1,
    device: str = "cpu",
    progress: bool = True,
) -> Done:
    """Do what is not done, and write each cell into `folder` as system/seed/driver.json as soon as its loop is done.

    A cell is kept if it was made with the settings and the data that are now asked for; otherwise it is stale, which
    is said, and made anew. All labels go to system/labels.jsonl, after every loop, and come from there: with cells and
    labels alone another machine goes on. What is under way lives in `folder`/checkpoints: a loop that is killed goes
    on from there. The workers of a cluster must see that folder: loops share labels and networks through it.

    Args:
        grid: what the campaign consists of.
        folder: of the results.
        executor: any `concurrent.futures.Executor`; in this process if None.
        only: patterns of cells, as `Grid.units`.
        command: by which it was asked for; written into the cells.
        threads: of torch in each worker.
        device: of each worker: "cpu", "cuda", or "auto" for a GPU if it has one.
        progress: show a bar on the standard error stream.

    Raises:
        StudyError: loops failed; their first errors are named. All others are done and kept.
        ValueError: as `Grid.units`; `folder` holds files that are no cells, or another process is at work in it.
    """
    folder = Path(folder)
    with owner_of(folder, "folder"):
        return _run(grid, folder, executor, only, {"command": command, "threads": threads, "device": device}, progress)


def _run(
    grid: Grid, folder: Path, executor: Executor | None, only: Sequence[str], options: dict[str, Any], progress: bool
) -> Done:
    scratch = (folder / SCRATCH).absolute()
    units, kept, stale = what_is_left(grid, folder, only)
    tell_stale(stale)
    for system in dict.fromkeys(unit.system for unit in units):
        unpack(labels_file(folder, system), label_folder(scratch, grid.systems[system]))

    def pack_labels(unit: Unit) -> None:
        pack(label_folder(scratch, grid.systems[unit.system]), labels_file(folder, unit.system))

    def keep(unit: Unit, cell: Cell) -> int:
        text = as_text(cell, ("generations", "learners"))
        storage.write_atomically(cell_path(folder, unit), f"{text}\n".encode())
        shutil.rmtree(unit_folder(scratch, unit), ignore_errors=True)
        return 1

    made = do_all(
        [(unit, partial(do_unit, unit, scratch=scratch, **options)) for unit in units],
        keep,
        executor=executor,
        kept=kept,
        total=len(units),
        called=(grid.name, "loops"),
        progress=progress,
        whatever=pack_labels,
    )
    return Done(made=made, kept=kept, stale=len(stale))


def what_is_left(grid: Grid, folder: Path, only: Sequence[str] = ()) -> tuple[list[Unit], int, list[Path]]:
    """Units still to be done, how many cells there are already, and which of them are stale."""
    data = {name: data_digest(system.load(), system.splits) for name, system in grid.systems.items()}

    def fresh(unit: Unit, cell: Cell) -> bool:
        if not {"digest", "data_digest"} <= set(cell):
            raise ValueError(f"{cell_path(folder, unit)}: not a cell of the loops; {REMEDY}")
        return (cell["digest"], cell["data_digest"]) == (digest(unit.identity()), data[unit.system])

    return cells.what_is_left([(unit, cell_path(folder, unit)) for unit in grid.units(only)], fresh)


def cell_path(folder: Path, unit: Unit) -> Path:
    """Where the result of a piece of work is kept."""
    return folder / unit.system / str(unit.seed) / f"{unit.driver}.json"


def labels_file(folder: Path, system: str) -> Path:
    """Where the labels of a system are kept, for all its loops."""
    return folder / system / "labels.jsonl"

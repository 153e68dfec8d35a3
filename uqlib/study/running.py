"""All units of the study done, in this process or in the workers of any executor; what is done already stays done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from uqlib.common import storage
from uqlib.common.owner import owner_of
from uqlib.study.cells import SCRATCH, Cell, Done, StudyError, as_text, digest, do_all, tell_stale, what_is_left
from uqlib.study.drawing import recalibrating
from uqlib.study.grid import Grid, Unit, data_digest
from uqlib.study.stored import read_cell
from uqlib.study.work import do_unit

__all__ = ["Digests", "Done", "StudyError", "run"]


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
    """Do what is not done, and write each cell into `folder` as system/seed/method.json as soon as its unit is done.

    A cell is kept if it was made with the settings and the data that are now asked for; otherwise it is stale, which
    is said, and made anew. A unit that is interrupted leaves checkpoints in `folder`/checkpoints and goes on from
    there (on a cluster: if its workers see that folder, too).

    Args:
        grid: What the study consists of.
        folder: Of the results.
        executor: Any `concurrent.futures.Executor`, for example `dask.distributed.Client(...).get_executor()`; in this
            process if None. Its workers need nothing but this package.
        only: Patterns of cells, as `Grid.units`.
        command: By which it was asked for; written into the cells.
        threads: Of torch in each worker.
        device: Of each worker: "cpu", "cuda", or "auto" for a GPU if it has one.
        progress: Show a bar on the standard error stream.

    Raises:
        StudyError: Units failed; their first errors are named. All others are done and kept.
        ValueError: As `Grid.units`; `folder` holds files that are no cells, or another process is at work in it.
    """
    folder = Path(folder)
    with owner_of(folder, "folder"):
        return _run(grid, folder, executor, only, {"command": command, "threads": threads, "device": device}, progress)


def _run(
    grid: Grid, folder: Path, executor: Executor | None, only: Sequence[str], options: dict[str, Any], progress: bool
) -> Done:
    units, kept, stale = _what_is_left(grid, folder, only)
    tell_stale(stale)

    def keep(unit: Unit, found: Sequence[Cell]) -> int:
        for cell in found:
            text = as_text(cell, ("splits",))
            storage.write_atomically(_path(folder, unit, cell["method"]), f"{text}\n".encode())
        shutil.rmtree(_scratch(folder, unit), ignore_errors=True)
        return len(found)

    made = do_all(
        [(u, partial(do_unit, u, scratch=_scratch(folder, u), **options)) for u in units],
        keep,
        executor=executor,
        kept=kept,
        total=sum(len(unit.methods) for unit in units),
        called=(grid.scale, "units"),
        progress=progress,
    )
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return Done(made=made, kept=kept, stale=len(stale))


def _what_is_left(grid: Grid, folder: Path, only: Sequence[str]) -> tuple[list[Unit], int, list[Path]]:
    """Units with the methods that are still to be done; how many cells there are already; and those that are stale."""
    digests, units = Digests(grid), grid.units(only)
    every = [((unit, method), _path(folder, unit, method)) for unit in units for method in unit.methods]
    left, kept, stale = what_is_left(every, lambda _, cell: digests.fresh(cell), read_cell)
    missing = [replace(unit, methods=tuple(method for one, method in left if one is unit)) for unit in units]
    return [unit for unit in missing if unit.methods], kept, stale


class Digests:
    """Of the settings and data of today, each data set read once."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.known: dict[tuple[str, int | None], str] = {}

    def fresh(self, cell: Mapping[str, Any]) -> bool:
        system, seed = cell["system"], cell["seed"]
        return cell["digest"] == digest(self.grid.identity(system, cell["method"], seed)) and (
            cell["data_digest"] == self.data(system, seed)
        )

    def data(self, system: str, seed: int) -> str:
        key = (system, seed if self.grid.resplit else None)
        if key not in self.known:
            data = self.grid.load(system, seed)
            scored = list(self.grid.systems[system].scored(data))
            self.known[key] = data_digest(data, [*scored, *recalibrating(data)])
        return self.known[key]


def _scratch(folder: Path, unit: Unit) -> Path:
    settings = digest([unit.grid.identity(unit.system, method, unit.seed) for method in unit.methods])
    return (folder / SCRATCH / f"{unit.system}-{unit.seed}-{unit.methods[0]}-{settings}").absolute()


def _path(folder: Path, unit: Unit, method: str) -> Path:
    return folder / unit.system / str(unit.seed) / f"{method}.json"

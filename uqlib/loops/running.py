"""All loops of the campaign, in this process or in the workers of any executor; what is done already stays done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from uqlib.common import storage
from uqlib.loops.grid import Grid, Unit
from uqlib.loops.packing import pack, unpack
from uqlib.loops.unit import Cell, do_unit, label_folder, unit_folder
from uqlib.study.grid import data_digest, digest
from uqlib.study.running import SCRATCH, Done, StudyError, outcomes


def run(
    grid: Grid,
    folder: str | Path,
    *,
    executor: Executor | None = None,
    only: Sequence[str] = (),
    command: str = "",
    threads: int = 1,
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
        progress: show a bar on the standard error stream.

    Raises:
        StudyError: loops failed; their first errors are named. All others are done and kept.
        ValueError: as `Grid.units`.
    """
    folder = Path(folder)
    scratch = (folder / SCRATCH).absolute()
    units, kept, stale = what_is_left(grid, folder, only)
    for path in stale:
        tqdm.write(f"stale, made with other settings or data, and made anew: {path}")
    systems = [grid.systems[name] for name in dict.fromkeys(unit.system for unit in units)]
    for system in systems:
        unpack(labels_file(folder, system.name), label_folder(scratch, system))
    made, failed = 0, []
    jobs = [(unit, partial(do_unit, unit, scratch=scratch, command=command, threads=threads)) for unit in units]
    with tqdm(total=kept + len(units), initial=kept, desc=grid.name, disable=not progress, unit="cell") as bar:
        for unit, future in outcomes(jobs, executor, bar):
            pack(label_folder(scratch, grid.systems[unit.system]), labels_file(folder, unit.system))
            error = future.exception()
            if error is not None:
                failed.append(f"{unit}: {type(error).__name__}: {error}")
                tqdm.write(f"failed, {failed[-1]}")
                continue
            storage.write_atomically(cell_path(folder, unit), f"{as_text(future.result())}\n".encode())
            shutil.rmtree(unit_folder(scratch, unit), ignore_errors=True)
            made += 1
            bar.update()
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(units)} loops failed, the others are done and kept; the same command tries them "
            f"again. First: {failed[0]}"
        )
    return Done(made=made, kept=kept, stale=len(stale))


def what_is_left(grid: Grid, folder: Path, only: Sequence[str] = ()) -> tuple[list[Unit], int, list[Path]]:
    """Units still to be done, how many cells there are already, and which of them are stale."""
    data = {name: data_digest(system.load(), system.splits) for name, system in grid.systems.items()}
    left, kept, stale = [], 0, []
    for unit in grid.units(only):
        path = cell_path(folder, unit)
        if path.exists():
            cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if (cell["digest"], cell["data_digest"]) == (digest(unit.identity()), data[unit.system]):
                kept += 1
                continue
            stale.append(path)
        left.append(unit)
    return left, kept, stale


def as_text(cell: Cell) -> str:
    """JSON with a line for each entry, each generation and each learner: short, and fit to be compared by line."""
    lines = []
    for key, value in cell.items():
        if key == "generations":
            text = "[\n  " + ",\n  ".join(json.dumps(found, ensure_ascii=False) for found in value) + "\n]"
        elif key == "learners":
            inner = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            text = "{\n  " + inner + "\n}"
        else:
            text = json.dumps(value, ensure_ascii=False)
        lines.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def cell_path(folder: Path, unit: Unit) -> Path:
    """Where the result of a piece of work is kept."""
    return folder / unit.system / str(unit.seed) / f"{unit.driver}.json"


def labels_file(folder: Path, system: str) -> Path:
    """Where the labels of a system are kept, for all its loops."""
    return folder / system / "labels.jsonl"

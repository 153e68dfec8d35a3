"""All units of the study done, in this process or in the workers of any executor; what is done already stays done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from uqlib.common import storage
from uqlib.study.grid import Grid, Unit, data_digest, digest
from uqlib.study.work import Cell, do_unit

SCRATCH = "checkpoints"  # folder beside the cells
Work = TypeVar("Work")
Result = TypeVar("Result")


class StudyError(RuntimeError):
    """Some units failed; the others are done and kept."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a run of the study went: numbers of cells."""

    made: int
    kept: int  # were there already, made with the same settings and data
    stale: int  # were there, but made with others: among those made anew


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
        ValueError: As `Grid.units`.
    """
    folder = Path(folder)
    units, kept, stale = _what_is_left(grid, folder, only)
    for path in stale:
        tqdm.write(f"stale, made with other settings or data, and made anew: {path}")
    made, failed = 0, []
    total = sum(len(unit.methods) for unit in units)
    with tqdm(total=kept + total, initial=kept, desc=grid.scale, disable=not progress, unit="cell") as bar:
        options: dict[str, Any] = {"command": command, "threads": threads, "device": device}
        jobs = [(unit, partial(do_unit, unit, scratch=_scratch(folder, unit), **options)) for unit in units]
        for unit, future in outcomes(jobs, executor, bar):
            error = future.exception()
            if error is not None:
                failed.append(f"{unit}: {type(error).__name__}: {error}")
                tqdm.write(f"failed, {failed[-1]}")
                continue
            for cell in future.result():
                storage.write_atomically(_path(folder, cell), f"{as_text(cell)}\n".encode())
                made += 1
                bar.update()
            shutil.rmtree(_scratch(folder, unit), ignore_errors=True)
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(units)} units failed, the others are done and kept; the same command tries them "
            f"again. First: {failed[0]}"
        )
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return Done(made=made, kept=kept, stale=len(stale))


def as_text(cell: Cell) -> str:
    """JSON with a line for each entry of the cell, and one for each split: short, and fit to be compared by line."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in cell.items() if key != "splits"]
    splits = ",\n  ".join(f"{json.dumps(split)}: {json.dumps(found)}" for split, found in cell["splits"].items())
    return "{\n" + ",\n".join(lines) + ',\n"splits": {\n  ' + splits + "\n}\n}"


def _what_is_left(grid: Grid, folder: Path, only: Sequence[str]) -> tuple[list[Unit], int, list[Path]]:
    """Units with the methods that are still to be done; how many cells there are already; and those that are stale."""
    digests = Digests(grid)
    left, kept, stale = [], 0, []
    for unit in grid.units(only):
        missing = []
        for method in unit.methods:
            path = folder / unit.system / str(unit.seed) / f"{method}.json"
            if not path.exists():
                missing.append(method)
            elif digests.fresh(json.loads(path.read_text(encoding="utf-8"))):
                kept += 1
            else:
                stale.append(path)
                missing.append(method)
        if missing:
            left.append(replace(unit, methods=tuple(missing)))
    return left, kept, stale


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
            known = self.grid.systems[system]
            data = known.load(seed=key[1])
            self.known[key] = data_digest(data, list(known.scored(data)))
        return self.known[key]


def outcomes(
    jobs: Sequence[tuple[Work, Callable[[], Result]]], executor: Executor | None, bar: Any
) -> Iterator[tuple[Work, Future[Result]]]:
    """Pieces of work as they are done, in any order, each with what its call came to. `bar` names the one at hand."""
    if executor is None:
        for work, call in jobs:
            bar.set_postfix_str(str(work))
            future: Future[Result] = Future()
            try:
                future.set_result(call())
            except Exception as error:  # any: it is reported, and must not keep the other units from being done
                future.set_exception(error)
            yield work, future
        return
    futures = {executor.submit(call): work for work, call in jobs}
    for future in as_completed(futures):
        yield futures[future], future


def _scratch(folder: Path, unit: Unit) -> Path:
    settings = digest([unit.grid.identity(unit.system, method, unit.seed) for method in unit.methods])
    return (folder / SCRATCH / f"{unit.system}-{unit.seed}-{unit.methods[0]}-{settings}").absolute()


def _path(folder: Path, cell: Cell) -> Path:
    return folder / cell["system"] / str(cell["seed"]) / f"{cell['method']}.json"

"""Much work, cut into units and done by any executor; what comes of it is kept as cells, small files of JSON.

The study is done like this, and so are the loops: see `running` of each.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from uqlib.common.json_files import read_json

AT_ONCE = 400  # units that are with the workers or wait for one; thousands of dask's are still few
DIED, DEATHS = "KilledWorker", 5  # dask's name for it, and how often a unit may be tried again
SCRATCH = "checkpoints"  # folder beside the cells, for what is under way
Cell = dict[str, Any]
Work = TypeVar("Work")
Result = TypeVar("Result")


REMEDY = "delete it, and run the same command again: it is made anew"


class StudyError(RuntimeError):
    """Some units failed; the others are done and kept."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a run went: numbers of cells."""

    made: int
    kept: int  # were there already, made with the same settings and data
    stale: int  # were there, but made with others: among those made anew


def digest(found: Any) -> str:
    """SHA-256, 16 hexadecimal digits of it, of plain data."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def chosen(named: Mapping[str, Work], wanted: Sequence[str], form: str) -> list[Work]:
    """What matches one of the patterns ("ammonia/*", "*/0/mve") by its name; all of it without patterns.

    Raises ValueError for a pattern that matches nothing; `form` says there what names look like.
    """
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise ValueError(f"only: {pattern!r} matches no cell {form}, for example {next(iter(named))}")
    return [work for name, work in named.items() if not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)]


def what_is_left(
    cells: Sequence[tuple[Work, Path]], fresh: Callable[[Work, Cell], bool], read: Callable[[Path], Cell] | None = None
) -> tuple[list[Work], int, list[Path]]:
    """Cells still to be made, how many there are already, and which of those to be made are there but stale.

    Args:
        cells: What each cell is of, and its file.
        fresh: Whether what is in the file is what would be made today.
        read: Of a file; errors are raised. Plain JSON if None.
    """
    left, kept, stale = [], 0, []
    for work, path in cells:
        if path.exists():
            if fresh(work, read_json(path, "a cell", REMEDY) if read is None else read(path)):
                kept += 1
                continue
            stale.append(path)
        left.append(work)
    return left, kept, stale


def do_all(
    jobs: Sequence[tuple[Work, Callable[[], Result]]],
    keep: Callable[[Work, Result], int],
    *,
    executor: Executor | None,
    kept: int,
    total: int,
    called: tuple[str, str],
    progress: bool,
    whatever: Callable[[Work], object] = lambda _: None,
) -> int:
    """Do the work, and keep what comes of each unit as soon as it is done; the number of cells made.

    Args:
        jobs: Units and the calls that do them.
        keep: Writes the cells of a unit; returns how many they are.
        executor: Any `concurrent.futures.Executor`; in this process if None.
        kept: Cells that are there already.
        total: Cells to be made.
        called: What all of it is called, for the bar; and what its units are.
        progress: Show a bar on the standard error stream.
        whatever: Done after each unit, whatever came of it.

    Raises:
        StudyError: Units failed; their first error is named. All others are done and kept.
    """
    made, failed = 0, []
    with tqdm(total=kept + total, initial=kept, desc=called[0], disable=not progress, unit="cell") as bar:
        for work, future in _outcomes(jobs, executor, bar):
            whatever(work)
            error = future.exception()
            if error is not None:
                failed.append(f"{work}: {type(error).__name__}: {error}")
                tqdm.write(f"failed, {failed[-1]}")
                continue
            new = keep(work, future.result())
            made += new
            bar.update(new)
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(jobs)} {called[1]} failed, the others are done and kept; the same command tries "
            f"them again. First: {failed[0]}"
        )
    return made


def tell_stale(paths: Sequence[Path]) -> None:
    """Say which cells are about to be made anew."""
    for path in paths:
        tqdm.write(f"stale, made with other settings or data, and made anew: {path}")


def as_text(cell: Cell, opened: Collection[str]) -> str:
    """JSON with a line for each entry, and one for each element of those `opened`: fit to be compared by line."""
    lines = []
    for key, value in cell.items():
        text = _opened(value) if key in opened else json.dumps(value, ensure_ascii=False)
        lines.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def rounded(found: Any, digits: int = 6) -> Any:
    """Plain data with numbers of so many digits: what lies beyond is noise, and would fill the files."""
    if isinstance(found, dict):
        return {key: rounded(value, digits) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(value, digits) for value in found]
    if isinstance(found, float):
        return float(f"{found:.{digits}g}")
    return found


def _opened(value: Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(value, Mapping):
        inner = [f"{json.dumps(key)}: {json.dumps(one, ensure_ascii=False)}" for key, one in value.items()]
        return "{\n  " + ",\n  ".join(inner) + "\n}"
    return "[\n  " + ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n]"


def _outcomes(
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
    yield from _of_executor(jobs, executor)


def _of_executor(
    jobs: Sequence[tuple[Work, Callable[[], Result]]], executor: Executor
) -> Iterator[tuple[Work, Future[Result]]]:
    """As the workers do them; so many at a time are waited for that memory does not grow with the number of jobs.

    An interrupt gives up what is not done, and yields what is. What a worker took along when it died is done again.
    """
    waiting = deque((job, 0) for job in jobs)
    running: dict[Future[_Answer], tuple[tuple[Work, Callable[[], Result]], int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                job, deaths = waiting.popleft()
                running[executor.submit(_answered, job[1])] = (job, deaths)
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job, deaths = running.pop(done)
                future = _opened_answer(done)
                if type(future.exception()).__name__ == DIED and deaths < DEATHS:
                    waiting.append((job, deaths + 1))
                    continue
                yield job[0], future
    except KeyboardInterrupt:
        for future in running:
            future.cancel()
        for future, (job, _) in running.items():
            if future.done() and not future.cancelled() and _opened_answer(future).exception() is None:
                yield job[0], _opened_answer(future)
        raise


@dataclass(frozen=True)
class _Answer:
    """What a call returned, on its way here.

    Where a worker dies while its answer travels, dask has the answer, and takes it apart as an error all the same
    (`typ, exc, tb = result`, in its `cfexecutor`). This is then an error that carries the answer.
    """

    result: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((_AnswerArrived, _AnswerArrived(self.result), None))


class _AnswerArrived(Exception):
    """No error; see `_Answer`."""


def _answered(call: Callable[[], Any]) -> _Answer:
    return _Answer(call())


def _opened_answer(future: Future[Any]) -> Future[Any]:
    """The future of the call itself, from one of its answer that is done."""
    opened: Future[Any] = Future()
    error = future.exception()
    if error is None:
        opened.set_result(future.result().result)
    elif isinstance(error, _AnswerArrived):
        opened.set_result(error.args[0])
    else:
        opened.set_exception(error)
    return opened

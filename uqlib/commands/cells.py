"""What the commands that make the cells of a grid share: where to, which, and the executor that does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uqlib.commands.common import check_place
from uqlib.common.processes import worker_pool
from uqlib.study.running import Done


def add_running(parser: argparse.ArgumentParser, *, out: str, cells: str) -> None:
    """The options of every command that makes the cells of a grid: where to, which, and who does it."""
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"for the results (default: {out})")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help=f"cells {cells}")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask.distributed scheduler: tcp://host:8786")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch, in each worker (default: 1)")


def make(grid: Any, run: Callable[..., Done], out: str, command: str, arguments: argparse.Namespace) -> None:
    """Make the cells of a grid with the options of `add_running`, and print how many there are.

    Args:
        grid: what is to be done.
        run: does it, as `study.running.run`.
        out: the folder, where none was asked for.
        command: what to type for the same grid; written into the cells, with `--only` and nothing else: who does them
            and where they go is no part of it.
        arguments: as they were parsed.

    Raises:
        ValueError: options that are out of range or do not go together, and what `run` and `executor_of` refuse.
    """
    for name in ("workers", "threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name}: got {getattr(arguments, name)}, expected at least 1")
    if arguments.scheduler and arguments.workers != 1:
        raise ValueError("--workers: the workers of a scheduler are its own; leave one of the two options out")
    folder = arguments.out or Path(out)
    check_place(folder / "cell.json")
    only = "".join(f" '{pattern}'" for pattern in arguments.only)
    command += f" --only{only}" if only else ""
    with executor_of(arguments.scheduler, arguments.workers) as executor:
        options = {"only": arguments.only, "command": command, "threads": arguments.threads}
        done = run(grid, folder, executor=executor, **options)
    print(f"{folder}: {done.made} cells made, {done.stale} of them anew; {done.kept} were there")


@contextmanager
def executor_of(scheduler: str | None, workers: int) -> Iterator[Executor | None]:
    """None for this process; else one of a scheduler of dask, or of processes here. Raises ValueError without dask."""
    if scheduler:
        try:
            from dask.distributed import Client
        except ImportError as error:
            raise ValueError('--scheduler: dask is not installed; pip install "uqlib[cluster]"') from error
        with Client(scheduler) as client:
            yield client.get_executor()
    elif workers > 1:
        with worker_pool(workers) as pool:
            yield pool
    else:
        yield None

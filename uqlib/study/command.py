"""The command `study`: its options, and the executor that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from uqlib.common.processes import worker_pool
from uqlib.study.grid import SCALES, load_grid
from uqlib.study.running import run


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `study`."""
    parser.add_argument(
        "--scale", default="teaching", metavar="NAME|FILE", help=f"{', '.join(SCALES)}, or a .toml file of yours"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results (default: study-SCALE)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="cells system/seed/method: 'ammonia/*' '*/0/mve'"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask.distributed scheduler: tcp://host:8786")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch, in each worker (default: 1)")


def study(arguments: argparse.Namespace) -> None:
    """`study`: do what is not done of the study, and write a small file for each of its cells."""
    for name in ("workers", "threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name}: got {getattr(arguments, name)}, expected at least 1")
    if arguments.scheduler and arguments.workers != 1:
        raise ValueError("--workers: the workers of a scheduler are its own; leave one of the two options out")
    grid = load_grid(arguments.scale)
    out = arguments.out or Path(f"study-{grid.scale}")
    with executor_of(arguments.scheduler, arguments.workers) as executor:
        done = run(
            grid,
            out,
            executor=executor,
            only=arguments.only,
            command=_command(arguments),
            threads=arguments.threads,
        )
    print(f"{out}: {done.made} cells made, {done.stale} of them anew; {done.kept} were there")


def _command(arguments: argparse.Namespace) -> str:
    """What to type for the same cells; who does them and where they go is no part of it."""
    only = "".join(f" '{pattern}'" for pattern in arguments.only)
    return f"python -m uqlib study --scale {arguments.scale}" + (f" --only{only}" if only else "")


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

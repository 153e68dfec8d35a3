"""The command `loops`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from uqlib.loops.reading import DEFAULT, load_grid
from uqlib.loops.running import run
from uqlib.study.command import executor_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `loops`."""
    parser.add_argument("--grid", type=Path, default=DEFAULT, metavar="FILE", help="a .toml file (default: the book's)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results (default: loops-NAME)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="cells system/seed/driver: 'ammonia/*' '*/10/mve'"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask.distributed scheduler: tcp://host:8786")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch, in each worker (default: 1)")


def loops(arguments: argparse.Namespace) -> None:
    """`loops`: do what is not done of the campaign, and write a small file for each of its loops."""
    for name in ("workers", "threads"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name}: got {getattr(arguments, name)}, expected at least 1")
    if arguments.scheduler and arguments.workers != 1:
        raise ValueError("--workers: the workers of a scheduler are its own; leave one of the two options out")
    grid = load_grid(arguments.grid)
    out = arguments.out or Path(f"loops-{grid.name}")
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
    grid = "" if arguments.grid == DEFAULT else f" --grid {arguments.grid}"
    only = "".join(f" '{pattern}'" for pattern in arguments.only)
    return f"python -m uqlib loops{grid}" + (f" --only{only}" if only else "")

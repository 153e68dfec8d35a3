"""The command `loops`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from uqlib.loops.reading import DEFAULT, load_grid
from uqlib.loops.running import run
from uqlib.study.command import add_running, make


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `loops`."""
    parser.add_argument("--grid", type=Path, default=DEFAULT, metavar="FILE", help="a .toml file (default: the book's)")
    add_running(parser, out="loops-NAME", cells="system/seed/driver: 'ammonia/*' '*/10/mve'")


def loops(arguments: argparse.Namespace) -> None:
    """`loops`: do what is not done of the campaign, and write a small file for each of its loops."""
    grid = load_grid(arguments.grid)
    chosen = "" if arguments.grid == DEFAULT else f" --grid {arguments.grid}"
    make(grid, run, f"loops-{grid.name}", f"python -m uqlib loops{chosen}", arguments)

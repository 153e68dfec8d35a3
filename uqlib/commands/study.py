"""`study`: all methods on all systems from several seeds, one small file for each cell."""

from __future__ import annotations

import argparse

from uqlib.commands.cells import add_running, make
from uqlib.study.grid import SCALES, load_grid
from uqlib.study.running import run as run_study

HELP = "all methods on all systems from several seeds"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `study`."""
    parser.add_argument(
        "--scale", default="teaching", metavar="NAME|FILE", help=f"{', '.join(SCALES)}, or a .toml file of yours"
    )
    add_running(parser, out="study-SCALE", cells="system/seed/method: 'ammonia/*' '*/0/mve'")


def run(arguments: argparse.Namespace) -> None:
    """`study`: do what is not done of the study, and write a small file for each of its cells."""
    grid = load_grid(arguments.scale)
    make(grid, run_study, f"study-{grid.scale}", f"python -m uqlib study --scale {arguments.scale}", arguments)

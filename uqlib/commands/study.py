"""`study`: all methods on all systems from several seeds, one small file for each cell."""

from __future__ import annotations

import argparse
from functools import partial

from uqlib.commands.cells import add_running, make
from uqlib.commands.common import add_device, device_of
from uqlib.study.grid import SCALES, load_grid
from uqlib.study.running import run as run_study

HELP = "all methods on all systems from several seeds"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `study`."""
    parser.add_argument(
        "--scale", default="teaching", metavar="NAME|FILE", help=f"{', '.join(SCALES)}, or a .toml file of yours"
    )
    add_device(parser)
    add_running(parser, out="study-SCALE", cells="system/seed/method: 'ammonia/*' '*/0/mve'")


def run(arguments: argparse.Namespace) -> None:
    """`study`: do what is not done of the study, and write a small file for each of its cells."""
    grid = load_grid(arguments.scale)
    if not arguments.scheduler:  # whose workers have devices of their own
        device_of(arguments)
    run_there = partial(run_study, device=arguments.device)
    make(grid, run_there, f"study-{grid.scale}", f"python -m uqlib study --scale {arguments.scale}", arguments)

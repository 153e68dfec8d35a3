"""`study`: all methods on all systems from several seeds, one small file for each cell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from uqlib.commands.cells import add_running, make
from uqlib.commands.common import add_device, device_of
from uqlib.metrics.layout import as_text
from uqlib.study import prices
from uqlib.study.estimate import estimate
from uqlib.study.grid import SCALES, Grid, load_grid
from uqlib.study.running import run as run_study

HELP = "all methods on all systems from several seeds"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `study`."""
    parser.add_argument(
        "--scale", default="teaching", metavar="NAME|FILE", help=f"{', '.join(SCALES)}, or a .toml file of yours"
    )
    add_device(parser)
    parser.add_argument("--dry-run", action="store_true", help="say how many cells there are and how long they take")
    parser.add_argument("--prices", action="store_true", help="measure what methods cost at 128 features")
    add_running(parser, out="study-SCALE", cells="system/seed/method: 'ammonia/*' '*/0/mve'")


def run(arguments: argparse.Namespace) -> None:
    """`study`: do what is not done of the study, and write a small file for each of its cells."""
    if arguments.prices:
        path = arguments.out or prices.FILE
        prices.keep(prices.measure_prices(device=arguments.device), path)
        print(path)
        return
    grid = load_grid(arguments.scale)
    if arguments.dry_run:
        rehearse(grid, arguments.only)
        return
    if not arguments.scheduler:  # whose workers have devices of their own
        device_of(arguments)
    run_there = partial(run_study, device=arguments.device)
    make(grid, run_there, f"study-{grid.scale}", f"python -m uqlib study --scale {arguments.scale}", arguments)


def rehearse(grid: Grid, only: Sequence[str]) -> None:
    """Print the cells of each system and the processor hours of their trainings; nothing is made."""
    found = estimate(grid, only)
    rows = [("system", "cells", "processor hours"), *((e.system, str(e.cells), f"{e.hours:.1f}") for e in found)]
    print("\n".join(as_text([*rows, ("all", str(sum(e.cells for e in found)), f"{sum(e.hours for e in found):.1f}")])))
    print("Trainings only, as this processor does them now; predictions and scores come on top.")

"""`loops`: each method drives its own active learning, one small file for each loop."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from uqlib.commands.cells import add_running, make
from uqlib.commands.common import add_device, device_of
from uqlib.loops.reading import DEFAULT, load_grid
from uqlib.loops.running import run as run_loops

HELP = "active learning, driven by each method in turn"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `loops`."""
    parser.add_argument("--grid", type=Path, default=DEFAULT, metavar="FILE", help="a .toml file (default: the book's)")
    add_device(parser)
    add_running(parser, out="loops-NAME", cells="system/seed/driver: 'ammonia/*' '*/10/mve'")


def run(arguments: argparse.Namespace) -> None:
    """`loops`: do what is not done of the campaign, and write a small file for each of its loops."""
    grid = load_grid(arguments.grid)
    chosen = "" if arguments.grid == DEFAULT else f" --grid {arguments.grid}"
    if not arguments.scheduler:  # whose workers have devices of their own
        device_of(arguments)
    make(
        grid,
        partial(run_loops, device=arguments.device),
        f"loops-{grid.name}",
        f"python -m uqlib loops{chosen}",
        arguments,
    )

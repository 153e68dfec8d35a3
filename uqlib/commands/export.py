"""`export`: one file that simulation programs run, from what `train --out` saved."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from uqlib import calibration
from uqlib.commands.common import Stop, check_place
from uqlib.methods.shared.last_layer import UncertainLastLayer

HELP = "one file that ASE, i-PI, LAMMPS, eOn, PLUMED and torch-sim run"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.description = (
        "Writes a file in the metatomic format: energies, their uncertainty, the energies of the members and features; "
        "forces and stress are made by the engine. It runs where metatomic runs, without uqlib. For ensembles, shallow "
        'ensembles, LLPR, MVE and evidential regression. Needs pip install "uqlib[engines]".'
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="what `train --out` saved")
    parser.add_argument("out", type=Path, metavar="FILE.pt", help="the file to write")
    parser.add_argument("--members", type=int, metavar="N", help="samples of LLPR's last layer (default: 32)")
    parser.add_argument("--seed", type=int, metavar="N", help="of these samples (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    """`export`: load, refuse what has no such file, write."""
    if arguments.out.suffix != ".pt":
        raise Stop(f"FILE.pt: got {arguments.out.name!r}, expected an ending .pt")
    check_place(arguments.out)
    predictor: Any = calibration.load(arguments.model)
    asked = {"count": arguments.members, "seed": arguments.seed}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and not (isinstance(predictor, UncertainLastLayer) and predictor.head is None):
        raise Stop("--members, --seed: only LLPR draws members; every other method has its own or none, leave them out")
    if asked.get("count", 2) < 2:
        raise Stop(f"--members: got {asked['count']}, expected at least 2")
    predictor.export(arguments.out, **asked)
    print(f"wrote {arguments.out}")

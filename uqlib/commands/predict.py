"""`predict`: a copy of a file's structures with energies and forces, and how far to trust them."""

from __future__ import annotations

import argparse
from pathlib import Path

from uqlib import calibration
from uqlib.commands.common import Stop, add_device, add_reading, check_place, device_of, read_file
from uqlib.interfaces import error_bars
from uqlib.prediction import predict

HELP = "energies, forces and uncertainties for a file"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `predict`."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="what `train --out` saved")
    parser.add_argument("file", type=Path, metavar="FILE", help="structures: a file or folder")
    add_device(parser)
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="for one batch, about (default: 0.6, or a quarter of what is free if less; on a GPU half of what is free)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="written whole, as .xyz, .traj, .db or .json: `uqlib_energy`, `uqlib_forces`, "
                        "`uqlib_force_uncertainty`, ...; labels of the input stay what they were")  # fmt: skip
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """`predict`: predictions under names that no reader takes for labels, beside the labels that there were."""
    if arguments.out.suffix not in error_bars.ENDINGS:
        raise Stop(f"--out: got {arguments.out.name!r}, expected an ending {', '.join(error_bars.ENDINGS)}")
    check_place(arguments.out)
    predictor = calibration.load(arguments.model, device=device_of(arguments))
    data = read_file(arguments, arguments.file)
    frames = error_bars.attach(data.atoms, predict(predictor, data, memory=arguments.memory))
    error_bars.write(arguments.out, frames)
    print(f"wrote {len(frames)} structures to {arguments.out}")

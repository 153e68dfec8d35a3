"""`show`: what a saved model says of itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from uqlib.calibration import about

HELP = "what a saved model is: units, elements, training set, calibration"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="what `train --out` or `save` wrote")


def run(arguments: argparse.Namespace) -> None:
    """`show`: print what is known of a saved model."""
    print(about(arguments.model))

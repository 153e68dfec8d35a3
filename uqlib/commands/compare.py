"""`compare`: train many methods alike, and print what their uncertainties are worth and what they cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from uqlib import methods
from uqlib.commands.common import (
    Stop,
    add_device,
    add_reading,
    add_splitting,
    add_stress,
    check_place,
    device_of,
    find_splits,
    stress_of,
)
from uqlib.common import storage
from uqlib.study import comparison

HELP = "train all methods, and score and time them"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    parser.add_argument("--data", required=True, metavar="NAME|FILE", help="one of ours, or a file or folder of yours")
    parser.add_argument("--methods", nargs="+", choices=sorted(methods.EVERY), metavar="METHOD",
                        help=f"some of {', '.join(sorted(methods.EVERY))} (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="of each network (default: 100)")
    parser.add_argument("--features", type=int, default=32, metavar="N", help="width of the networks (default: 32)")
    parser.add_argument("--interactions", type=int, default=2, metavar="N", help="their depth (default: 2)")
    add_stress(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables here, too: .json, .md or .txt")
    parser.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER", help="save here as it goes; if stopped, run again"
    )
    add_device(parser)
    add_reading(parser)
    add_splitting(parser)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch; small networks gain from one")


def run(arguments: argparse.Namespace) -> None:
    """`compare`: train many methods alike, and print what their uncertainties are worth and what they cost."""
    out = arguments.out
    if out is not None:
        if out.suffix not in (".json", ".md", ".txt"):
            raise Stop(f"--out: got {out.name!r}, expected an ending .json, .md or .txt")
        check_place(out)
    if arguments.threads < 1:
        raise Stop(f"--threads: got {arguments.threads}, expected at least 1")
    torch.set_num_threads(arguments.threads)
    data = find_splits(arguments)
    recipes = {name: methods.EVERY[name] for name in arguments.methods or methods.EVERY}
    stress = stress_of(arguments) or 0.0
    network = {"features": arguments.features, "interactions": arguments.interactions}
    options = {name: getattr(arguments, name) for name in ("epochs", "seed", "checkpoints")}
    found = comparison.compare(data, recipes, network=network, stress=stress, device=device_of(arguments), **options)
    print(found.as_text())
    if out is not None:
        is_json, is_md = out.suffix == ".json", out.suffix == ".md"
        text = json.dumps(found.as_dict(), indent=1) if is_json else found.as_text(markdown=is_md)
        storage.write_atomically(out, f"{text}\n".encode())
        print(f"saved {out}")

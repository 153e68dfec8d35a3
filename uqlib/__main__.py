"""The command line: what data there is, train and score methods, compare them, predict for structures of yours."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib import calibration, methods
from uqlib.common import storage
from uqlib.loops import command as loops_command
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction, predict
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.study import command, comparison, scoring
from uqlib.study.running import StudyError

EXAMPLES = """\
examples:
  python -m uqlib data                                      what data sets there are
  python -m uqlib data ammonia                              one of them, described
  python -m uqlib train --data ammonia --method ensemble    train five networks and score them
  python -m uqlib train --data mine.xyz --method ensemble --out mine.uq --checkpoints run1
  python -m uqlib compare --data ammonia                    all methods, side by side: some minutes
  python -m uqlib study --only 'ammonia/0/*'                the study of the book, or a part of it: hours
  python -m uqlib loops --only 'ammonia/*'                  each method drives its own active learning: hours
  python -m uqlib predict mine.uq others.xyz --out predicted.xyz

The book that explains all this is built by `make book`, in the folder that this package came in.
"""
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of a file of yours, which comes without splits


class Stop(Exception):
    """Asked for something that cannot be: reported as bad usage."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (Stop, StudyError, ValueError, KeyError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        if arguments.verbose:
            traceback.print_exc()
        print(f"uqlib: {_in_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, Stop) else 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m uqlib",
        description="Uncertainty quantification for neural-network interatomic potentials.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    data = commands.add_parser("data", parents=[common], help="list our data sets, or describe one")
    data.add_argument("name", nargs="?", metavar="NAME", help="one of ours, or a file")
    data.set_defaults(run=show_data)

    train = commands.add_parser("train", parents=[common], help="train a method and score it on the test splits")
    train.add_argument("--data", required=True, metavar="NAME|FILE", help="one of ours, or an .xyz, .db or .pth.tar")
    train.add_argument("--method", required=True, choices=sorted(methods.METHODS), help="the way to an uncertainty")
    train.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    train.add_argument("--members", type=int, metavar="N", help="networks in an ensemble")
    train.add_argument("--epochs", type=int, metavar="N",
                       help="passes over the training data, at most; of a second training in proportion")  # fmt: skip
    train.add_argument("--features", type=int, metavar="N", help="width of the network")
    train.add_argument("--out", type=Path, metavar="FILE", help="save the trained networks here (mine.uq)")
    train.add_argument("--checkpoints", type=Path, metavar="FOLDER", help="save here as it goes; if stopped, run again")
    train.set_defaults(run=train_method)

    _add_compare(commands.add_parser("compare", parents=[common], help="train all methods, and score and time them"))

    study = commands.add_parser("study", parents=[common], help="all methods on all systems from several seeds")
    command.add_options(study)
    study.set_defaults(run=command.study)
    loops = commands.add_parser("loops", parents=[common], help="active learning, driven by each method in turn")
    loops_command.add_options(loops)
    loops.set_defaults(run=loops_command.loops)
    predictor = commands.add_parser("predict", parents=[common], help="energies, forces and uncertainties for a file")
    predictor.add_argument("model", type=Path, metavar="MODEL", help="what `train --out` saved")
    predictor.add_argument("file", type=Path, metavar="FILE", help="structures: .xyz, .db or .pth.tar")
    predictor.add_argument("--out", type=Path, required=True, metavar="FILE.xyz", help="extended XYZ, written whole")
    predictor.set_defaults(run=predict_file)
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="NAME|FILE", help="one of ours, or an .xyz, .db or .pth.tar")
    parser.add_argument("--methods", nargs="+", choices=sorted(methods.METHODS), metavar="METHOD",
                        help=f"some of {', '.join(sorted(methods.METHODS))} (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="of each network (default: 100)")
    parser.add_argument("--features", type=int, default=32, metavar="N", help="width of the networks (default: 32)")
    parser.add_argument("--interactions", type=int, default=2, metavar="N", help="their depth (default: 2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables here, too: .json, .md or .txt")
    parser.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER", help="save here as it goes; if stopped, run again"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch; small networks gain from one")
    parser.set_defaults(run=compare_methods)


def show_data(arguments: argparse.Namespace) -> None:
    """`data`: our sets with their counts, or the repr and the card of one."""
    if arguments.name is None:
        for name in datasets.available():
            print(datasets.load(name), end="\n\n")
        print("More of one: python -m uqlib data NAME. From Python: uqlib.structures.datasets.load(NAME).")
        return
    data = _find_data(arguments.name)
    print(data)
    for key in ("title", "licence", "command", "source"):
        if key in data.card:
            print(f"  {key:<17} {data.card[key]}")
    for name, entry in data.card.get("splits", {}).items():
        print(f"  {name:<17} {entry.get('frames', '?')} structures: {entry.get('sampling', 'sampling not stated')}")
    for limit in data.card.get("limits", ()):
        print(f"  limit             {limit}")


def train_method(arguments: argparse.Namespace) -> None:
    """`train`: fit, save if asked, and score on every split that was not trained on."""
    if arguments.out is not None:
        _check_place(arguments.out)
    data = _find_splits(arguments)
    method = _method(arguments)
    predictor: Any = method.fit(data["train"], data["valid"], seed=arguments.seed)
    if arguments.out is not None:
        predictor.save(arguments.out)
        print(f"saved {arguments.out}", flush=True)
    tests = {name: data[name] for name in data.splits if name not in ("train", "valid") and len(data.splits[name]) > 1}
    print(scoring.table({name: scoring.score(predict(predictor, part), part) for name, part in tests.items()}))


def compare_methods(arguments: argparse.Namespace) -> None:
    """`compare`: train many methods alike, and print what their uncertainties are worth and what they cost."""
    out = arguments.out
    if out is not None:
        if out.suffix not in (".json", ".md", ".txt"):
            raise Stop(f"--out: got {out.name!r}, expected an ending .json, .md or .txt")
        _check_place(out)
    if arguments.threads < 1:
        raise Stop(f"--threads: got {arguments.threads}, expected at least 1")
    torch.set_num_threads(arguments.threads)
    data = _find_splits(arguments)
    recipes = {name: methods.METHODS[name] for name in arguments.methods or methods.METHODS}
    network = {"features": arguments.features, "interactions": arguments.interactions}
    options = {name: getattr(arguments, name) for name in ("epochs", "seed", "checkpoints")}
    found = comparison.compare(data, recipes, network=network, **options)
    print(found.as_text())
    if out is not None:
        is_json, is_md = out.suffix == ".json", out.suffix == ".md"
        text = json.dumps(found.as_dict(), indent=1) if is_json else found.as_text(markdown=is_md)
        storage.write_atomically(out, f"{text}\n".encode())
        print(f"saved {out}")


def predict_file(arguments: argparse.Namespace) -> None:
    """`predict`: a copy of the structures with predicted energies and forces, and how far to trust them."""
    if arguments.out.suffix not in (".xyz", ".extxyz"):
        raise Stop(f"--out: got {arguments.out.name!r}, expected an ending .xyz or .extxyz")
    _check_place(arguments.out)
    predictor = calibration.load(arguments.model)
    data = datasets.read(arguments.file)
    frames = _with_predictions(data, predict(predictor, data))
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    storage.write_atomically(arguments.out, text.getvalue().encode())
    print(f"wrote {len(frames)} structures to {arguments.out}")


def _with_predictions(data: Dataset, prediction: Prediction) -> list[ase.Atoms]:
    """Predictions as `energy` and `forces`, uncertainties beside them; labels become REF_energy and REF_forces."""
    frames, end = [], 0
    for index, original in enumerate(data.atoms):
        start, end = end, end + len(original)
        frame = original.copy()
        for label, value in ({} if original.calc is None else original.calc.results).items():
            (frame.arrays if label == "forces" else frame.info)[f"REF_{label}"] = value
        results = {"energy": float(prediction.energy[index]), "forces": prediction.forces[start:end].double().numpy()}
        if prediction.stress is not None and frame.pbc.all():
            results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[index].double().numpy())
        frame.calc = SinglePointCalculator(frame, **results)
        frame.arrays["force_uncertainty"] = prediction.force_uncertainty[start:end].double().numpy()
        if prediction.energy_uncertainty is not None:
            frame.info["energy_uncertainty"] = float(prediction.energy_uncertainty[index])
        frame.info["uncertainty_unit"] = prediction.unit
        frames.append(frame)
    return frames


def _find_data(name: str) -> Dataset:
    if name in datasets.available():
        return datasets.load(name)
    if Path(name).exists():
        return datasets.read(name)
    raise Stop(f"data: got {name!r}, expected one of {', '.join(datasets.available())}, or a file")


def _find_splits(arguments: argparse.Namespace) -> Dataset:
    """`--data`, shown, with the splits that training needs; a file of yours is split by `--seed`."""
    data = _find_data(arguments.data)
    if not data.splits:
        sizes = {name: int(share * len(data)) for name, share in SHARES.items()}
        data = data.split(seed=arguments.seed, by_group=True, **sizes)
    if not {"train", "valid"} <= set(data.splits):
        raise Stop(f"--data: {data.name!r} has the splits {sorted(data.splits)}, training needs 'train' and 'valid'")
    print(data, flush=True)
    return data


def _method(arguments: argparse.Namespace) -> Any:
    """The recipe, with what was asked for; what was not stays as the method has it."""
    recipe: Any = methods.METHODS[arguments.method]
    known = {field.name for field in dataclasses.fields(recipe)}
    options = {name: getattr(arguments, name) for name in ("members", "checkpoints")}
    options = {name: value for name, value in options.items() if value is not None}
    if unknown := sorted(set(options) - known):
        raise Stop(f"--{unknown[0]}: the method {arguments.method!r} has no such option")
    try:
        if arguments.features is not None:
            options["network"] = {**recipe.network, "features": arguments.features}
        if arguments.epochs is not None:
            options |= _of_epochs(recipe, arguments.epochs)
        return dataclasses.replace(recipe, **options)
    except ValueError as error:
        raise Stop(f"--method {arguments.method}: {error}") from error


def _of_epochs(recipe: Any, epochs: int) -> dict[str, Settings]:
    """The recipe's own settings with so many epochs; other trainings of the method are shortened in proportion."""
    found: dict[str, Settings] = {}
    for name, own in ((field.name, getattr(recipe, field.name)) for field in dataclasses.fields(recipe)):
        if isinstance(own, Settings):
            share = own.epochs / recipe.settings.epochs
            found[name] = dataclasses.replace(own, epochs=max(round(share * epochs), min(epochs, 1)))
    return found


def _check_place(path: Path) -> None:
    """Better now than after an hour of training."""
    if path.is_dir():
        raise Stop(f"--out: {path} is a folder, expected the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise Stop(f"--out: cannot write into {folder}")


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; with --checkpoints, the same command continues where it was"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
